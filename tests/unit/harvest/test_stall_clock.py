"""When an engine counts as standing still."""

import pytest

from thresher.harvest.stall_clock import StallClock


class Seconds:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


def test_a_lone_shard_stalls_the_engine_from_its_last_row_to_its_commit(seconds):
    clock = StallClock(seconds)
    clock.set_running(True)
    seconds.now_s = 5
    clock.set_running(False)
    clock.begin_commit()
    seconds.now_s = 7
    clock.end_commit()
    seconds.now_s = 20  # no shard waits: the engine has no work, whatever the store does
    clock.set_running(True)
    assert clock.stalled_s == 2


def test_a_commit_beside_a_shard_that_runs_is_no_stall(seconds):
    clock = StallClock(seconds)
    clock.set_running(True)
    clock.begin_commit()
    seconds.now_s = 3
    clock.end_commit()
    clock.set_running(False)
    assert clock.stalled_s == 0


def test_a_stall_lasts_until_work_comes_however_many_commits_end_meanwhile(seconds):
    clock = StallClock(seconds)
    clock.set_running(True)
    clock.begin_commit()
    clock.begin_commit()
    clock.set_running(False)
    seconds.now_s = 1
    clock.end_commit()
    seconds.now_s = 4
    clock.set_running(True)
    seconds.now_s = 9
    clock.end_commit()
    assert clock.stalled_s == 4
