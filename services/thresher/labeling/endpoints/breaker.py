"""Leave a failing server alone, and find out with single requests whether it is back.

Source: Nygard, Release It! (2nd edition, 2018), section "Circuit Breaker".
"""

import logging
import random
from typing import Literal

logger = logging.getLogger(__name__)

MAX_FAILURES = 8
FIRST_OPEN_S, LONGEST_OPEN_S = 1.0, 60.0
REFUSED_OPEN_S = 60.0

BreakerState = Literal["closed", "open", "half_open"]


class CircuitBreaker:
    """Closed: requests pass. Open: none does. Half open: one does, and its fate decides.

    It opens after `MAX_FAILURES` failures in a row, for a second at first and twice as long each further time, up to a
    minute. What it does is logged in words.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._state: BreakerState = "closed"
        self._failures_in_a_row, self._num_trips, self._open_until_s = 0, 0, 0.0

    @property
    def state(self) -> BreakerState:
        return self._state

    @property
    def num_trips(self) -> int:
        """Times it opened since the last answer."""
        return self._num_trips

    def opens_at_s(self) -> float | None:
        """From when on a request may pass; None while another one is the trial."""
        return {"closed": 0.0, "open": self._open_until_s, "half_open": None}[self._state]

    def begin(self) -> None:
        """A request is sent."""
        if self._state == "open":
            self._state = "half_open"
            logger.info("%s is tried again with one request.", self._name)

    def abandon(self) -> None:
        """The request that was sent was cancelled: nothing is known of it."""
        if self._state == "half_open":
            self._state = "open"

    def succeeded(self) -> None:
        if self._state != "closed":
            logger.warning("%s answers again: it is back in.", self._name)
        self._state, self._failures_in_a_row, self._num_trips = "closed", 0, 0

    def failed(self, reason: str, now_s: float) -> None:
        """A broken connection, a timeout or a server error."""
        self._failures_in_a_row += 1
        if self._state == "half_open" or (
            self._state == "closed" and self._failures_in_a_row >= MAX_FAILURES
        ):
            longest_s = min(LONGEST_OPEN_S, FIRST_OPEN_S * 2**self._num_trips)
            self._open(random.uniform(0.75, 1.0) * longest_s, reason, now_s)

    def refused(self, reason: str, now_s: float) -> None:
        """It refuses the key or the model: somebody has to mend that, which takes longer."""
        if self._state != "open":
            self._open(REFUSED_OPEN_S, reason, now_s)

    def _open(self, wait_s: float, reason: str, now_s: float) -> None:
        self._state, self._open_until_s, self._num_trips = "open", now_s + wait_s, self._num_trips + 1
        logger.warning("%s is left out for %.0f s and then tried again: %s", self._name, wait_s, reason)
