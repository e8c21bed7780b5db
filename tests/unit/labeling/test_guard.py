"""A run that is told to stop from outside."""

import asyncio
import threading

import pytest

from thresher.labeling.guard import RunGuard, RunStoppedError


def test_stopped_from_another_thread_it_cleans_up_and_says_why() -> None:
    guard, cleaned = RunGuard(), []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(True)

    threading.Timer(0.1, guard.stop, ["the window closed"]).start()
    with pytest.raises(RunStoppedError, match="the window closed"):
        guard.run(work())
    assert cleaned == [True]


def test_stopped_before_it_began_it_does_not_begin() -> None:
    guard, begun = RunGuard(), []

    async def work() -> None:
        begun.append(True)

    guard.stop("first")
    guard.stop("second")
    with pytest.raises(RunStoppedError, match="first"):
        guard.run(work())
    assert begun == []
    with pytest.raises(RunStoppedError, match="first"):
        guard.check()


def test_a_run_that_is_not_stopped_returns_and_a_later_stop_is_harmless() -> None:
    guard = RunGuard()

    async def work() -> int:
        return 7

    assert guard.run(work()) == 7
    guard.check()
    guard.stop("late")
    assert guard.reason == "late"


def test_whoever_confirms_may_forbid() -> None:
    def forbid() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        RunGuard(forbid).check()


def test_a_cancellation_of_others_stays_one() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        RunGuard().run(work())
