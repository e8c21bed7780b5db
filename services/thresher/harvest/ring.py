"""The bounded way from the engine's thread to the writer's: a slow store fills it, and a full one stops the engine."""

import threading
import time
from collections import deque
from typing import Generic, TypeVar

from thresher.contracts.errors import ThresherError

ItemT = TypeVar("ItemT")


class RingClosedError(ThresherError):
    """The reader has gone: nothing more can be put in."""


class BoundedRing(Generic[ItemT]):
    """First in, first out, bounded by bytes. One item may exceed the bound, when the ring is empty."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._used_bytes = max_bytes, 0
        self._items: deque[tuple[ItemT, int]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self.wait_s = 0.0
        """Time that the putting side stood still."""

    def put(self, item: ItemT, num_bytes: int = 0) -> None:
        """Hand an item on, waiting for room.

        Raises:
            RingClosedError: the ring was closed.
        """
        with self._changed:
            start_s = time.perf_counter()
            self._changed.wait_for(lambda: self._closed or self._has_room(num_bytes))
            self.wait_s += time.perf_counter() - start_s
            if self._closed:
                raise RingClosedError("The writer of this shard has ended.")
            self._items.append((item, num_bytes))
            self._used_bytes += num_bytes
            self._changed.notify_all()

    def take(self) -> ItemT | None:
        """The next item, waited for; None once the ring is closed. Its bytes count until `release`."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items)
            return None if self._closed else self._items[0][0]

    def release(self) -> None:
        """The item last taken is done with."""
        with self._changed:
            if self._items:
                _, num_bytes = self._items.popleft()
                self._used_bytes -= num_bytes
                self._changed.notify_all()

    def close(self) -> None:
        """Wake both sides; what is in the ring is dropped."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._used_bytes = 0
            self._changed.notify_all()

    def _has_room(self, num_bytes: int) -> bool:
        return not self._items or self._used_bytes + num_bytes <= self._max_bytes
