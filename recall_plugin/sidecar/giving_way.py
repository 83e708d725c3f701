"""The funnel goes first: where both want a processor, the sidecar waits.

A channel that burns every processor, and a killed sidecar that loads model and
index again, would take them from the shop's own search beside it.
"""

import os
from contextlib import suppress
from pathlib import Path

_THREADS = Path("/proc/self/task")
# Linux shares processors between sessions before it looks at who is in them: a sidecar that leads a
# session of its own has to lower that, too. From -20, first, to 19, last.
_SESSION = Path("/proc/self/autogroup")
_LAST = 19


def give_way() -> None:
    """Run only where nobody else wants to, with every thread that is there or begins after this.

    A lower priority is not enough: at the lowest, searches beside a channel that burns two
    processors still waited for its turn to end (docs/experiments-log.md). Where the system has no
    such thing, or forbids it, nothing changes.
    """
    with suppress(OSError):
        for thread in list(_THREADS.iterdir()):  # imports may have begun some
            with suppress(AttributeError, OSError):  # one that has ended keeps no other from giving way
                os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            _SESSION.write_text(str(_LAST))
