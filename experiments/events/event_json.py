"""Events as lines of JSON, and back (`docs/schemas/exposure.json`, `outcome.json`). Pure."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from experiments.errors import InvalidEvent
from experiments.exposure import Exposure, Mark, Outcome, ServedProduct

_Flat = TypeVar("_Flat", "Outcome", "Mark")

_EXPOSURE_FIELDS = tuple(Exposure.__dataclass_fields__)
_OUTCOME_FIELDS = tuple(Outcome.__dataclass_fields__)
_MARK_FIELDS = tuple(Mark.__dataclass_fields__)


def exposure_to_json(exposure: Exposure) -> bytes:
    """The exposure as one line of JSON (UTF-8, no line feed)."""
    fields: dict[str, Any] = {name: getattr(exposure, name) for name in _EXPOSURE_FIELDS}
    fields["occurred_at"] = _rfc3339(exposure.occurred_at)
    fields["served"] = [
        {
            "product_id": served.product_id,
            "position": served.position,
            "channels": list(served.channels),
            "rank_per_channel": dict(served.rank_per_channel),
        }
        for served in exposure.served
    ]
    return _dump(fields)


def exposure_from_json(line: bytes) -> Exposure:
    """Read an exposure.

    Raises:
        InvalidEvent: not JSON, or a field is missing or of the wrong kind.
    """
    fields = _load(line, _EXPOSURE_FIELDS)
    try:
        fields["occurred_at"] = datetime.fromisoformat(fields["occurred_at"])
        for names in ("counterfactual", "teams", "team_weights"):
            fields[names] = tuple(fields.get(names) or ())
        fields["served"] = tuple(
            ServedProduct(
                product_id=served["product_id"],
                position=served["position"],
                channels=tuple(served["channels"]),
                rank_per_channel=served["rank_per_channel"],
            )
            for served in fields["served"]
        )
        return Exposure(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidEvent(f"not an exposure: {error!r} in {line[:200]!r}") from error


def outcome_to_json(outcome: Outcome) -> bytes:
    """The outcome as one line of JSON (UTF-8, no line feed)."""
    return _flat(outcome, _OUTCOME_FIELDS)


def outcome_from_json(line: bytes) -> Outcome:
    """Read an outcome.

    Raises:
        InvalidEvent: not JSON, or a field is missing or of the wrong kind.
    """
    return _read_flat(line, Outcome, _OUTCOME_FIELDS, "an outcome")


def mark_to_json(mark: Mark) -> bytes:
    """The mark as one line of JSON (UTF-8, no line feed)."""
    return _flat(mark, _MARK_FIELDS)


def mark_from_json(line: bytes) -> Mark:
    """Read a mark.

    Raises:
        InvalidEvent: not JSON, or a field is missing or of the wrong kind.
    """
    return _read_flat(line, Mark, _MARK_FIELDS, "a mark")


def to_json(event: Exposure | Outcome | Mark) -> bytes:
    """Any event as one line of JSON."""
    if isinstance(event, Exposure):
        return exposure_to_json(event)
    return outcome_to_json(event) if isinstance(event, Outcome) else mark_to_json(event)


def _flat(event: Outcome | Mark, names: tuple[str, ...]) -> bytes:
    fields: dict[str, Any] = {name: getattr(event, name) for name in names}
    fields["occurred_at"] = _rfc3339(event.occurred_at)
    return _dump(fields)


def _read_flat(line: bytes, kind: type[_Flat], names: tuple[str, ...], what: str) -> _Flat:
    fields = _load(line, names)
    try:
        fields["occurred_at"] = datetime.fromisoformat(fields["occurred_at"])
        return kind(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidEvent(f"not {what}: {error!r} in {line[:200]!r}") from error


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _dump(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _load(line: bytes, known: Sequence[str]) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise InvalidEvent(f"an event is not JSON: {line[:200]!r}") from error
    if not isinstance(fields, dict):
        raise InvalidEvent(f"an event is a {type(fields).__name__}, must be a JSON object: {line[:200]!r}")
    return {name: value for name, value in fields.items() if name in known}
