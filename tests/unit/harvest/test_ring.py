"""The ring is bounded, keeps the order, stops its writer, and lets go of both sides when closed."""

import threading
import time

import pytest

from thresher.harvest.ring import BoundedRing, RingClosedError

TIMEOUT_S = 10


def _in_thread(work) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_full_ring_holds_the_writer_until_the_reader_is_done_with_an_item():
    ring: BoundedRing[str] = BoundedRing(100)
    ring.put("a", 60)
    writer = _in_thread(lambda: ring.put("b", 60))
    time.sleep(0.05)
    assert writer.is_alive()
    assert ring.take() == "a"
    time.sleep(0.05)
    assert writer.is_alive(), "what is being read still takes room"
    ring.release()
    writer.join(TIMEOUT_S)
    assert ring.take() == "b"
    assert ring.wait_s > 0.05


def test_an_item_above_the_bound_passes_alone():
    ring: BoundedRing[str] = BoundedRing(10)
    ring.put("large", 50)
    writer = _in_thread(lambda: ring.put("next", 1))
    time.sleep(0.05)
    assert writer.is_alive()
    ring.take()
    ring.release()
    writer.join(TIMEOUT_S)
    assert ring.take() == "next"


def test_items_come_in_order_and_each_once():
    ring: BoundedRing[int] = BoundedRing(64)
    writer = _in_thread(lambda: [ring.put(number, 8) for number in range(500)])
    got = []
    for _ in range(500):
        got.append(ring.take())
        ring.release()
    writer.join(TIMEOUT_S)
    assert got == list(range(500))


def test_closing_wakes_a_waiting_reader_and_a_waiting_writer():
    empty: BoundedRing[str] = BoundedRing(10)
    answers: list[object] = []
    reader = _in_thread(lambda: answers.append(empty.take()))
    empty.close()
    reader.join(TIMEOUT_S)
    assert answers == [None]

    full: BoundedRing[str] = BoundedRing(10)
    full.put("a", 10)

    def write() -> None:
        with pytest.raises(RingClosedError):
            full.put("b", 10)
        answers.append("refused")

    writer = _in_thread(write)
    time.sleep(0.05)
    full.close()
    writer.join(TIMEOUT_S)
    assert answers[-1] == "refused"
