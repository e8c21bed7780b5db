"""How many requests a server bears at once, found by trying.

Slow start, then additive increase and multiplicative decrease, as TCP does it (Chiu and Jain, 1989; RFC 5681,
section 3.1). What counts as congestion is a refusal or a timeout, not latency: a server that batches answers later and
yet more the more it is given, and requests differ in size a hundredfold.
"""

START = 4
DECREASE = 0.5
NEAR_TIMEOUT = 0.5


class AdaptiveLimit:
    """Requests that may be in flight.

    Args:
        maximum: never more than this.
        timeout_s: an answer that took more than half of it counts as a sign of congestion.
    """

    def __init__(self, maximum: int, timeout_s: float) -> None:
        self._maximum, self._timeout_s = maximum, timeout_s
        self._limit, self._slow_start_up_to = float(min(START, maximum)), float(maximum)
        self._decreased_at_s = float("-inf")

    @property
    def limit(self) -> int:
        return int(self._limit)

    def succeeded(self, started_s: float, now_s: float, num_in_flight: int) -> None:
        """An answer came; `num_in_flight` counts its own request. Times are those of one monotonic clock."""
        if now_s - started_s > NEAR_TIMEOUT * self._timeout_s:
            self.congested(started_s, now_s)
        elif 2 * num_in_flight >= self.limit:  # a limit that is far from reached has not been tried
            step = 1.0 if self._limit < self._slow_start_up_to else 1.0 / self._limit
            self._limit = min(float(self._maximum), self._limit + step)

    def congested(self, started_s: float, now_s: float) -> None:
        """The server limits the rate or is too slow. What was sent before the last decrease says nothing new."""
        if started_s > self._decreased_at_s:
            self._limit = self._slow_start_up_to = max(1.0, self._limit * DECREASE)
            self._decreased_at_s = now_s
