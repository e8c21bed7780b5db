"""Two real processes at one fence, on a folder and on a real SeaweedFS: killed, and stopped and woken again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from thresher.contracts import paths
from thresher.labeling.nightly.fence import FenceEntry, claim
from thresher.storage import ObjectStore
from thresher.storage.artifacts import read_record

pytestmark = pytest.mark.fault

NAME, LEASE_S, TIMEOUT_S = "f", 1.0, 60
HOLDER = """
import sys, time
from thresher.labeling.nightly.fence import FenceLostError, hold
from thresher.storage import open_store
try:
    with hold(open_store(sys.argv[1]), "f", float(sys.argv[2])) as fence:
        while True:
            fence.commit({"epoch": fence.epoch})
            time.sleep(0.01)
except FenceLostError as error:
    print(error)
    sys.exit(3)
"""


@pytest.fixture
def start(store: ObjectStore) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts a process that holds the fence and commits without pause."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, store.url, str(LEASE_S)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def entries(store: ObjectStore) -> list[FenceEntry]:
    keys = [info.key for info in store.list(f"{paths.fence(NAME)}/log/")]
    return [read_record(store, key, FenceEntry) for key in keys]


def wait_for(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.05)


def num_commits(store: ObjectStore, epoch: int) -> int:
    return sum(entry.kind == "commit" and entry.epoch == epoch for entry in entries(store))


def check_log(store: ObjectStore) -> None:
    """One line of entries without a gap, in which nobody commits after another's claim."""
    log = entries(store)
    assert [entry.sequence for entry in log] == list(range(1, len(log) + 1))
    assert [entry.epoch for entry in log] == sorted(entry.epoch for entry in log)
    assert all(entry.payload == {"epoch": entry.epoch} for entry in log if entry.kind == "commit")
    claims = [entry for entry in log if entry.kind == "claim"]
    assert [entry.epoch for entry in claims] == list(range(1, len(claims) + 1))


def test_a_killed_holder_is_replaced_after_its_lease(store: ObjectStore, start) -> None:
    first = start()
    wait_for(lambda: num_commits(store, 1) >= 3)
    first.kill()
    first.wait()
    second = start()
    wait_for(lambda: num_commits(store, 2) >= 3)
    second.kill()
    second.wait()
    check_log(store)


def test_a_stopped_holder_that_wakes_commits_nothing(store: ObjectStore, start) -> None:
    first = start()
    wait_for(lambda: num_commits(store, 1) >= 3)
    os.kill(first.pid, signal.SIGSTOP)
    second = start()
    wait_for(lambda: num_commits(store, 2) >= 3)
    before = num_commits(store, 1)
    os.kill(first.pid, signal.SIGCONT)
    said, _ = first.communicate(timeout=TIMEOUT_S)
    assert first.returncode == 3
    assert "took over f (epoch 2)" in said
    wait_for(lambda: num_commits(store, 2) >= 10)
    assert num_commits(store, 1) == before
    assert second.poll() is None, "the holder is not disturbed"
    second.kill()
    second.wait()
    check_log(store)


def test_a_living_holder_is_left_alone_by_many(store: ObjectStore, start) -> None:
    start()
    wait_for(lambda: num_commits(store, 1) >= 1)
    others = [start() for _ in range(3)]
    for other in others:
        other.communicate(timeout=TIMEOUT_S)
        assert other.returncode == 1
    assert {entry.epoch for entry in entries(store)} == {1}
    with pytest.raises(Exception, match="is alive"):
        claim(store, NAME, LEASE_S)
