"""How long an engine stands still because its shards are not committed yet."""

import time
from collections.abc import Callable


class StallClock:
    """Counts the time in which nothing runs while at least one shard waits for its files or its commit.

    All calls come from one thread.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._num_committing, self._is_running = 0, False
        self._since_s: float | None = None
        self.stalled_s = 0.0
        """Stalls that have ended."""

    def begin_commit(self) -> None:
        """All sequences of some shards have run; their files are being written."""
        self._num_committing += 1
        self._update()

    def end_commit(self) -> None:
        """The shards of one `begin_commit` are committed, or given up."""
        self._num_committing -= 1
        self._update()

    def set_running(self, is_running: bool) -> None:
        """Whether the engine has sequences to run."""
        self._is_running = is_running
        self._update()

    def _update(self) -> None:
        stands_still = self._num_committing > 0 and not self._is_running
        if stands_still and self._since_s is None:
            self._since_s = self._clock()
        elif not stands_still and self._since_s is not None:
            self.stalled_s += self._clock() - self._since_s
            self._since_s = None
