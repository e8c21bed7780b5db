"""One holder at a time, and that one alone commits: on a folder and on a real S3 server."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from thresher.labeling.nightly.fence import FenceHeldError, FenceLostError, claim, hold
from thresher.storage import ObjectStore

LEASE_S = 0.4
NUM_CLAIMANTS = 8


def payloads(fence) -> list[int]:
    return [entry.payload["n"] for entry in fence.history()]


def test_what_one_holder_commits_the_next_reads(store: ObjectStore) -> None:
    with hold(store, "f", LEASE_S) as first:
        for n in range(3):
            first.commit({"n": n})
    start_s = time.monotonic()
    with hold(store, "f", 60) as second:
        assert payloads(second) == [2, 1, 0]
        assert (first.epoch, second.epoch) == (1, 2)
    assert time.monotonic() - start_s < 30, "a released fence is taken without waiting for a lease"


def test_a_living_holder_keeps_others_out(store: ObjectStore) -> None:
    with hold(store, "f", LEASE_S) as holder:
        with pytest.raises(FenceHeldError, match="is alive"):
            claim(store, "f", LEASE_S)
        holder.commit({"n": 1})
    assert claim(store, "f", LEASE_S).epoch == 2


def test_a_holder_that_fell_silent_is_replaced_and_commits_nothing_more(store: ObjectStore) -> None:
    silent = claim(store, "f", LEASE_S)
    silent.commit({"n": 1})
    next_one = claim(store, "f", LEASE_S)  # its heartbeat never came
    for attempt in (lambda: silent.commit({"n": 2}), silent.check, silent.release):
        with pytest.raises(FenceLostError, match="took over"):
            attempt()
    next_one.commit({"n": 3})
    next_one.check()
    assert payloads(next_one) == [3, 1]


def test_the_heartbeat_tells_of_the_loss(store: ObjectStore, monkeypatch) -> None:
    told = threading.Event()
    with hold(store, "f", LEASE_S) as holder:
        holder.when_lost = lambda reason: told.set()
        monkeypatch.setattr("thresher.labeling.nightly.fence._wait_for_silence", lambda *_: None)
        claim(store, "f", LEASE_S)
        assert told.wait(10)


def test_of_many_claimants_one_wins(store: ObjectStore) -> None:
    claim(store, "f", LEASE_S).release()
    together = threading.Barrier(NUM_CLAIMANTS)

    def attempt(_: int) -> int | None:
        together.wait()
        try:
            with hold(store, "f", LEASE_S) as fence:
                time.sleep(4 * LEASE_S)
                return fence.epoch
        except FenceHeldError:
            return None

    with ThreadPoolExecutor(NUM_CLAIMANTS) as pool:
        epochs = [epoch for epoch in pool.map(attempt, range(NUM_CLAIMANTS)) if epoch is not None]
    assert epochs == [2]


def test_a_commit_whose_answer_was_lost_is_found_again(store: ObjectStore, monkeypatch) -> None:
    fence = claim(store, "f", LEASE_S)
    tail = fence._tail
    fence.commit({"n": 1})
    fence._tail = tail  # as after an error that hid the success
    fence.commit({"n": 1})
    assert payloads(fence) == [1]
    fence._tail = tail
    with pytest.raises(FenceLostError):
        fence.commit({"n": 2})
