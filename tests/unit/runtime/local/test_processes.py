"""Child processes: told from strangers, stopped with all they started, explained when they fail."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from thresher.contracts.errors import SpecError
from thresher.runtime.local.die_with_parent import GRACE_S
from thresher.runtime.local.processes import (
    LocalProcess,
    LocalProcessError,
    free_port,
    read_stat,
    start_process,
    wait_until_healthy,
)

SLEEP = ["sleep", "600"]
STUBBORN = (
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
)


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[LocalProcess]:
    process = start_process("sleeper", SLEEP, tmp_path / "log")
    yield process
    process.stop(grace_s=0)


def wait_for(text: str, log: Path) -> str:
    deadline_s = time.monotonic() + 10
    while text not in log.read_text():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    return log.read_text()


def test_a_process_runs_until_it_is_stopped(sleeper: LocalProcess) -> None:
    assert sleeper.is_running()
    sleeper.stop()

    assert not sleeper.is_running()
    assert read_stat(sleeper.pid) is None
    sleeper.stop()


def test_what_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process = start_process("stubborn", [sys.executable, "-c", STUBBORN], tmp_path / "log")
    wait_for("ready", process.log)
    process.stop(grace_s=0.3)

    assert not process.is_running()


def test_what_the_process_started_goes_with_it(tmp_path: Path) -> None:
    script = "sleep 600 & echo child $! ; wait"
    process = start_process("parent", ["sh", "-c", script], tmp_path / "log")
    child = int(wait_for("child", process.log).split()[1])
    os.kill(process.pid, signal.SIGKILL)
    while process.is_running():
        time.sleep(0.02)
    assert read_stat(child) is not None
    process.stop()

    stat = read_stat(child)
    assert stat is None or stat.state == "Z"


def test_another_process_of_the_same_pid_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(SLEEP, start_new_session=True) as stranger:
        stat = read_stat(stranger.pid)
        assert stat is not None
        gone = LocalProcess("gone", stranger.pid, stat.start_ticks - 1, tmp_path / "log")

        try:
            assert not gone.is_running()
            gone.stop(grace_s=0)
            assert stranger.poll() is None
            assert replace(gone, start_ticks=stat.start_ticks).is_running()
        finally:
            stranger.kill()


def test_a_failed_start_shows_the_end_of_the_log(tmp_path: Path) -> None:
    process = start_process(
        "broken", ["sh", "-c", "echo first; echo the reason >&2; exit 3"], tmp_path / "log"
    )

    with pytest.raises(LocalProcessError, match=r"broken ended while it started(.|\n)*first\nthe reason"):
        wait_until_healthy(process, lambda: False, timeout_s=10)


def test_a_start_that_takes_too_long_is_stopped(sleeper: LocalProcess) -> None:
    with pytest.raises(LocalProcessError, match="sleeper was not healthy after 0 s"):
        wait_until_healthy(sleeper, lambda: False, timeout_s=0.2)
    assert not sleeper.is_running()


def test_an_interrupted_start_is_stopped(sleeper: LocalProcess) -> None:
    def interrupt() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wait_until_healthy(sleeper, interrupt, timeout_s=10)
    assert not sleeper.is_running()


STUBBORN_STARTER = """
import os, pathlib, sys, threading, time
from thresher.runtime.local.processes import start_process
log = pathlib.Path(sys.argv[1])
started = []
thread = threading.Thread(
    target=lambda: started.append(start_process("child", [sys.executable, "-c", sys.argv[2]], log))
)
thread.start()
thread.join()
while "ready" not in log.read_text():
    time.sleep(0.02)
print(started[0].pid, started[0].start_ticks, started[0].is_running(), flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_what_ignores_sigterm_ends_with_its_starter_but_not_with_a_thread_of_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STUBBORN_STARTER, str(tmp_path / "log"), STUBBORN]
    pid, start_ticks, ran = subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.split()
    process = LocalProcess("child", int(pid), int(start_ticks), tmp_path / "log")
    try:
        assert ran == "True"
        deadline_s = time.monotonic() + 2 * GRACE_S
        while process.group_members() and time.monotonic() < deadline_s:
            time.sleep(0.1)
        assert process.group_members() == []
    finally:
        process.stop(grace_s=0)


STARTER = """
import os, pathlib, sys
from thresher.runtime.local.processes import start_process
process = start_process("child", ["sleep", "600"], pathlib.Path(sys.argv[1]), detached=sys.argv[2] == "detached")
print(process.pid, process.start_ticks, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("mode", ["attached", "detached"])
def test_only_a_detached_process_outlives_a_killed_starter(tmp_path: Path, mode: str) -> None:
    command = [sys.executable, "-c", STARTER, str(tmp_path / "log"), mode]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout
    pid, start_ticks = map(int, output.split())
    process = LocalProcess("child", pid, start_ticks, tmp_path / "log")

    deadline_s = time.monotonic() + (5 if mode == "attached" else 1)
    while process.is_running() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert process.is_running() == (mode == "detached")
    process.stop(grace_s=1)
    assert not process.is_running()


def test_a_port_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(SpecError, match=f"port: cannot use {port}"):
            free_port(port)
    assert free_port(port) == port
    assert free_port() != free_port()
