"""Become another program that the system ends when its parent dies.

Run as a script: `python die_with_parent.py PARENT_PID PROGRAM [ARGUMENT ...]`.
Linux only: `prctl(PR_SET_PDEATHSIG)` sends SIGTERM once the *thread* that
started this process is gone, so start servers from a thread that stays. It is
a script of its own, and not a hook between fork and exec, because code there
may hang in a program that has threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):  # it died before we could ask
        sys.exit(1)
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is the point
