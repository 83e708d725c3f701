"""What was perhaps written after the group gave our share away is put right.

A process that is frozen between the check and the write wakes up and writes.
The new owner may have written newer rows by then: what the log says of
these products since our batch is applied again, through the same gate, until
it says nothing new. Whoever writes meanwhile reads the same log to its end.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

import structlog

from product_index.product import ProductChange

from .applying import Apply, Read, apply_or_bisect
from .change_log import ChangeLog, Message, Offsets
from .errors import LogUnavailable, OwnershipLost, Unreadable
from .patience import Patience

log = structlog.get_logger()

Reading = Callable[[Message], ProductChange | None]


def out_of_touch(changes: ChangeLog) -> str:
    """Why another may have what we hold; "" where nobody can."""
    try:
        changes.check()
    except (OwnershipLost, LogUnavailable) as error:
        return str(error)
    return ""


def make_good(
    late: Sequence[Read], reason: str, *, changes: ChangeLog, read: Reading, apply: Apply, patience: Patience
) -> None:
    """Put right what these may have written over.

    Args:
        late: perhaps written when the share was another's.
        reason: why we think so, for the log.
        changes: where what was said since is read; nothing of it is held any more.
        read: what a message says.
        apply: the gate, asked until it answers.
        patience: for the log's own answers.

    Raises:
        Stopped: told to stop while nobody answered.
    """
    changes.hold(())
    ours = {one.change.product_id for one in late}
    log.warning("perhaps_written_late", reason=reason, products=len(ours))
    first = {one.message.source: one.message.offset for one in reversed(late)}
    done = 0
    while True:
        later = patience.until_answered(lambda: _said_since(first, ours, changes, read))
        if len(later) == done:
            return
        done = len(later)
        apply_or_bisect(later, apply)


def _said_since(
    offsets: Offsets, product_ids: Collection[str], changes: ChangeLog, read: Reading
) -> list[ProductChange]:
    found = []
    for message in (one for page in changes.since(offsets) for one in page):
        with suppress(Unreadable):
            change = read(message)
            if change is not None and change.product_id in product_ids:
                found.append(change)
    return found
