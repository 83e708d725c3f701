"""The manners of every request to Milvus: a timeout, no silent retries, errors in our words."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grpc  # type: ignore[import-untyped]

from .errors import StoreUnavailable, UnknownCollection
from .milvus_address import said, without_settings
from .milvus_rows import TYPES

with without_settings():
    from pymilvus import DataType, MilvusException

_TYPES = {name: DataType[kind] for name, kind in TYPES.items()}

# Loading or flushing a large collection takes longer than a question.
_SLOW_FACTOR = 12
# Milvus' codes for an unknown collection, and for an unknown alias (milvus-lite knows the first only).
_NOT_FOUND = (100, 1600)


class Asker:
    """Goes around every request; `with asker("listing collections"): ...`."""

    def __init__(self, uri: str, timeout_s: float) -> None:
        self.uri = uri
        self.timeout_s = timeout_s

    def options(self, *, slow: bool = False) -> dict[str, Any]:
        """What a request is told."""
        return {"timeout": self.timeout_s * (_SLOW_FACTOR if slow else 1), "retry_on_rate_limit": False}

    def send(
        self, client: Any, collection: str, values: Mapping[str, Sequence[Any]], *, new: bool, **how: bool
    ) -> None:
        """Write rows, told as values by field.

        So the client packs a request seven times faster than row by row, which is
        all that its front door takes.

        Args:
            client: of pymilvus.
            collection: its name.
            values: of each field, in the order of the rows.
            new: nothing is looked for to be replaced.
            how: more for an upsert.
        """
        fields = [{"name": name, "type": _TYPES[name], "values": held} for name, held in values.items()]
        sender, context = client._get_connection(), client._generate_call_context()
        if new:  # a timeout by keyword is a time to retry in: what had been written would be there twice
            once: dict[str, Any] = {"retry_times": 0, "retry_on_rate_limit": False}
            sender.batch_insert(collection, fields, "", self.timeout_s, context, **once)
        else:
            sender.upsert(collection, fields, context=context, **how, **self.options())

    @contextlib.contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Say what is asked, for the errors.

        Raises:
            UnknownCollection: there is none of that name.
            StoreUnavailable: no answer, or another error.
        """
        try:
            yield
        except MilvusException as error:
            if error.code in _NOT_FOUND:
                raise UnknownCollection(
                    f"{what} at {self.uri}: {error.message}; open it again by alias"
                ) from error
            raise StoreUnavailable(f"{what} at {self.uri} failed: {error.message}") from error
        except grpc.RpcError as error:  # pymilvus lets a passed deadline through as it came
            raise StoreUnavailable(f"{what} at {self.uri} failed: {said(error)}") from error
        except (OSError, ValueError) as error:  # a closed channel, a broken address
            raise StoreUnavailable(f"{what} at {self.uri} failed: {error}") from error
