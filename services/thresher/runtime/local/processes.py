"""Servers as child processes: start, wait until healthy, stop. Never touches a process it did not start."""

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from thresher.contracts.errors import SpecError, ThresherError
from thresher.runtime.local import die_with_parent

LOOPBACK = "127.0.0.1"
PORT_RANGE = range(20000, 30000)  # below what Linux gives to outgoing connections
POLL_INTERVAL_S = 0.1
LOG_TAIL_LINES = 20


class LocalProcessError(ThresherError):
    """A local server did not start, or ended; holds the tail of its log."""


@dataclass(frozen=True)
class LocalProcess:
    """A child in a process group of its own. Its start time tells it from a later process of the same pid."""

    name: str
    pid: int
    start_ticks: int
    """Clock ticks from boot to the start of the process, as in /proc/PID/stat."""
    log: Path
    child: "subprocess.Popen[bytes] | None" = field(default=None, repr=False, compare=False)
    """Where this process is the parent; it collects the exit code."""

    def is_running(self) -> bool:
        if self.child is not None:
            self.child.poll()
        stat = read_stat(self.pid)
        return stat is not None and stat.start_ticks == self.start_ticks and stat.is_alive

    def stop(self, grace_s: float = 20.0) -> None:
        """End the whole group: SIGTERM, then SIGKILL for what is left after `grace_s`; nothing if none is."""
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
            if not self.group_members():
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            deadline_s = time.monotonic() + wait_s
            while self.group_members() and time.monotonic() < deadline_s:
                time.sleep(POLL_INTERVAL_S)
        if self.child is not None:
            self.child.wait()

    def log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def group_members(self) -> list[int]:
        """Living processes of the group; none if its number has since gone to another."""
        leader = read_stat(self.pid)
        if leader is not None and leader.start_ticks != self.start_ticks:
            return []
        if self.child is not None:
            self.child.poll()
        stats = ((int(entry.name), read_stat(int(entry.name))) for entry in Path("/proc").glob("[0-9]*"))
        return [
            pid
            for pid, stat in stats
            if stat and stat.group == self.pid and stat.start_ticks >= self.start_ticks and stat.is_alive
        ]


@dataclass(frozen=True)
class ProcessStat:
    state: str
    group: int
    num_threads: int
    start_ticks: int

    @property
    def is_alive(self) -> bool:
        """Whether it may still hold files and ports: a dead main thread may leave others that are ending."""
        return self.state not in "ZX" or self.num_threads > 1


def read_stat(pid: int) -> ProcessStat | None:
    """What /proc says of a process, or None if there is none (proc(5): /proc/pid/stat, fields 3, 5, 20, 22)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return ProcessStat(
        state=fields[0], group=int(fields[2]), num_threads=int(fields[17]), start_ticks=int(fields[19])
    )


def start_process(
    name: str,
    command: Sequence[str],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    detached: bool = False,
    pass_fds: Sequence[int] = (),
) -> LocalProcess:
    """Start `command` in a session of its own, with its output appended to `log`.

    Unless `detached`, it and all it started end when this process does, also by SIGKILL.
    `environment` is added to this process's; secrets go there, never into `command`, which everyone can read.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    guard = [] if detached else [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())]
    with log.open("ab") as output:
        child = subprocess.Popen(
            [*guard, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            pass_fds=pass_fds,
        )
    stat = read_stat(child.pid)
    assert stat is not None, "a child that was not waited for has an entry in /proc"
    return LocalProcess(name, child.pid, stat.start_ticks, log, child)


def wait_until_healthy(process: LocalProcess, is_healthy: Callable[[], bool], timeout_s: float) -> None:
    """Return when `is_healthy` says so; else stop the process.

    Raises:
        LocalProcessError: it ended, or was not healthy in time; with the end of its log.
    """
    deadline_s = time.monotonic() + timeout_s
    try:
        while not is_healthy():
            if not process.is_running():
                raise _failure(process, "ended while it started")
            if time.monotonic() > deadline_s:
                raise _failure(process, f"was not healthy after {timeout_s:.0f} s")
            time.sleep(POLL_INTERVAL_S)
    except BaseException:
        process.stop()
        raise


def answers_http(port: int, path: str) -> bool:
    """Whether a server on loopback answers GET `path` with 200."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def is_port_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(wanted: int | None = None) -> int:
    """The port `wanted`, else any free one.

    Raises:
        SpecError: the wanted port is in use.
    """
    if wanted is None:
        return next(port for port in random.sample(PORT_RANGE, len(PORT_RANGE)) if is_port_free(port))
    if not is_port_free(wanted):
        raise SpecError("port", wanted, mend="Another program listens there: stop it, or pick another port.")
    return wanted


def _failure(process: LocalProcess, what: str) -> LocalProcessError:
    return LocalProcessError(
        f"{process.name} {what}. The end of {process.log}:\n{process.log_tail() or '(empty)'}"
    )
