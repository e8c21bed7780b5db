"""Run a command that ends when its starter does, however that ends: `die_with_parent.py PARENT_PID COMMAND…`.

Linux only. It leads the command's process group. When the starter has died, the kernel tells it so; it then sends
the group SIGTERM and, after a while, SIGKILL: vLLM does not heed SIGTERM while it loads a model.
"""

import ctypes
import os
import signal
import subprocess
import sys
from types import FrameType
from typing import NoReturn

PR_SET_PDEATHSIG = 1
GRACE_S = 5.0


class SigtermError(Exception):
    """From the kernel, because the starter or the thread of it that started this has ended, or from anyone."""


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    signal.signal(signal.SIGTERM, _raise)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    child: subprocess.Popen[bytes] | None = None
    while os.getppid() == parent:
        try:
            child = child or subprocess.Popen(command, close_fds=False)
            code = child.wait()
        except SigtermError:
            if child is None:
                break
            continue  # if the starter lives, SIGTERM was for the whole group: the command has its own
        sys.exit(code if code >= 0 else 128 - code)
    _end_group(child)


def _end_group(child: "subprocess.Popen[bytes] | None") -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    try:
        if child is not None:
            child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        os.killpg(0, signal.SIGKILL)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    raise SigtermError


if __name__ == "__main__":
    main()
