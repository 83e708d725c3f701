"""A tester sees a variant of choice: a signed word that expires.

    token = sign_override(Override(...), secret)         # python -m experiments override
    recall(..., override=token)                          # or the header X-Recall-Override

The token says experiment, variant, unit (or anybody) and until when, and is
signed with HMAC-SHA-256 under a secret that the shop's own people hold. What
is forced is never logged as exposed. A token that is unsigned, forged, expired
or of another unit is refused; then the unit gets what it always gets: nobody
can leave an experiment by a header.
"""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .errors import InvalidOverride
from .experiment import Experiment

VERSION = "o1"
# A tester's afternoon, a week of acceptance: longer is a second set-up, and wants an experiment.
LONGEST = timedelta(days=30)
SHORTEST_SECRET = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A variant by choice.

    Attributes:
        unit_id: for whom; empty for whoever brings the token.
        until: it is refused from then on.
    """

    experiment: str
    variant: str
    until: datetime
    unit_id: str = ""


def sign_override(override: Override, secret: str, *, now: datetime) -> str:
    """The token.

    Raises:
        InvalidOverride: the secret is too short, or it would last too long or has ended.
    """
    if override.until.tzinfo is None or not now < override.until <= now + LONGEST:
        raise InvalidOverride(
            f"override until {override.until} must end within {LONGEST.days} days and not before now,"
            " with a time zone"
        )
    said = json.dumps(
        [override.experiment, override.variant, override.unit_id, int(override.until.timestamp())],
        separators=(",", ":"),
    )
    body = base64.urlsafe_b64encode(said.encode()).rstrip(b"=").decode()
    return f"{VERSION}.{body}.{_signature(body, secret)}"


def read_override(
    token: str, secret: str, experiment: Experiment, *, unit_id: str, now: datetime
) -> Override:
    """What the token says, if it may say it to this unit now.

    Raises:
        InvalidOverride: unsigned, forged, expired, of another unit or experiment, or of no known variant.
    """
    parts = token.split(".") if isinstance(token, str) else []
    if len(parts) != 3 or parts[0] != VERSION:
        raise InvalidOverride(
            f"override {str(token)[:40]!r} is not signed; make one with `python -m experiments override`"
        )
    if not hmac.compare_digest(_signature(parts[1], secret).encode(), parts[2].encode("utf-8", "replace")):
        raise InvalidOverride(
            "the override's signature is not ours; make one with the secret that is set here"
        )
    override = _said(parts[1])
    if now >= override.until:
        raise InvalidOverride(f"the override ended at {override.until:%Y-%m-%d %H:%M} UTC; make a new one")
    if override.experiment != experiment.name:
        raise InvalidOverride(
            f"the override is for experiment {override.experiment!r}; this is {experiment.name!r}"
        )
    if override.unit_id not in ("", unit_id):
        raise InvalidOverride(f"the override is for {experiment.unit} {override.unit_id!r}, not for this one")
    names = [variant.name for variant in experiment.variants]
    if override.variant not in names:
        raise InvalidOverride(
            f"the override names variant {override.variant!r}; {experiment.name!r} has {', '.join(names)}"
        )
    return override


def _signature(body: str, secret: str) -> str:
    if len(secret) < SHORTEST_SECRET:
        raise InvalidOverride(
            f"the secret for overrides has {len(secret)} characters, must have {SHORTEST_SECRET} or more;"
            " without one no override is taken"
        )
    signed = hmac.digest(secret.encode(), f"{VERSION}.{body}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()


def _said(body: str) -> Override:
    """The words of a body whose signature is ours."""
    try:
        said = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        experiment, variant, unit_id, until_s = said
        until = datetime.fromtimestamp(until_s, UTC)
    except (binascii.Error, ValueError, TypeError, OverflowError) as error:
        raise InvalidOverride(f"the override cannot be read: {error!r}") from error
    return Override(experiment=experiment, variant=variant, unit_id=unit_id, until=until)
