"""Run a command that ends when its starter does, however that ends: `die_with_parent.py PARENT_PID COMMAND…`.

Linux only. A program of its own, because code run between fork and exec in a threaded parent may deadlock.
The kernel's signal follows the thread that started it: start it from one that lives as long as it should.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the signal was asked for
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
