"""Garbage collection while answers are read."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

THRESHOLDS = (50_000, 20, 100)


@contextmanager
def rare_collection() -> Iterator[None]:
    """Look for cycles rarely, and never among what was there before.

    An answer with log-probabilities is thousands of small objects without a cycle, which go when they are read. By
    default they set off a look through the whole heap again and again: a quarter of the client's CPU time.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
