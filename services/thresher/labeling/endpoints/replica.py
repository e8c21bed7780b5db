"""One server of an endpoint: what it bears, whether it is in, and what became of each attempt."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import openai

from thresher.labeling.endpoints.answers import MalformedAnswerError
from thresher.labeling.endpoints.breaker import CircuitBreaker
from thresher.labeling.endpoints.concurrency import AdaptiveLimit
from thresher.labeling.endpoints.failures import Failure, failure_of, is_timeout
from thresher.labeling.endpoints.requests import RequestFailedError
from thresher.labeling.endpoints.spec import EndpointSpec, ReplicaSpec
from thresher.labeling.endpoints.transport import connect

logger = logging.getLogger(__name__)

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 8.0
TELL_OF_WAITS_FROM_S = 5.0
ResultT = TypeVar("ResultT")


class Replica:
    """Asks one server. The pool decides when: it takes a slot, attempts, and releases the slot."""

    def __init__(self, spec: EndpointSpec, server: ReplicaSpec) -> None:
        self._spec, self.server = spec, server
        self._client = connect(spec, server)
        self.breaker = CircuitBreaker(server.base_url)
        self._limit = AdaptiveLimit(spec.concurrency, spec.timeout_s)
        self._quiet_until_s, self._limited_in_a_row = 0.0, 0
        self.num_in_flight = 0

    @property
    def limit(self) -> int:
        """Requests it may have in flight now."""
        return self._limit.limit

    def available_at_s(self) -> float | None:
        """From when on (monotonic clock) it may be asked; None where a request in flight must end first."""
        opens_at_s = self.breaker.opens_at_s()
        if opens_at_s is None or self.num_in_flight >= self.limit:
            return None
        return max(opens_at_s, self._quiet_until_s)

    def take(self) -> None:
        self.num_in_flight += 1
        self.breaker.begin()

    def release(self) -> None:
        self.num_in_flight -= 1

    async def close(self) -> None:
        await self._client.close()

    async def attempt(self, call: Callable[[openai.AsyncOpenAI], Awaitable[ResultT]]) -> ResultT | Failure:
        """One try, of a slot that was taken; what it teaches about the server is kept."""
        started_s, settled = time.monotonic(), False
        try:
            result = await self._try(call, started_s)
            settled = True
            return result
        finally:
            if not settled:
                self.breaker.abandon()

    async def _try(
        self, call: Callable[[openai.AsyncOpenAI], Awaitable[ResultT]], started_s: float
    ) -> ResultT | Failure:
        try:
            async with asyncio.timeout(self._spec.timeout_s):  # a body that drips never runs into httpx's own
                result = await call(self._client)
        except MalformedAnswerError as error:
            return self._learn(
                Failure("malformed", RequestFailedError(f"a malformed answer: {error}.")), started_s
            )
        except RequestFailedError as error:
            return self._learn(Failure("request", error), started_s)
        except (openai.APIError, TimeoutError) as error:
            failure = failure_of(error, self._spec, self.server)
            if is_timeout(error):
                self._limit.congested(started_s, time.monotonic())
            return self._learn(failure, started_s)
        self._limit.succeeded(started_s, time.monotonic(), self.num_in_flight)
        self._answered()
        return result

    def _answered(self) -> None:
        self._limited_in_a_row = 0
        self.breaker.succeeded()

    def _learn(self, failure: Failure, started_s: float) -> Failure:
        now_s = time.monotonic()
        if failure.kind == "request":
            self._answered()
        elif failure.kind == "refused":
            self.breaker.refused(str(failure.error), now_s)
        elif failure.kind == "limited":
            self._limit.congested(started_s, now_s)
            self.breaker.abandon()
            if failure.wait_s is None:
                self.keep_quiet(backoff_s(self._limited_in_a_row))
            self._limited_in_a_row += 1
        else:
            self.breaker.failed(str(failure.error), now_s)
        if failure.wait_s is not None:
            self.keep_quiet(failure.wait_s)
        return failure

    def keep_quiet(self, wait_s: float) -> None:
        """Send nothing for a while: what one request is told holds for all."""
        until_s = time.monotonic() + wait_s
        if wait_s >= TELL_OF_WAITS_FROM_S and until_s > self._quiet_until_s + 1:
            logger.warning("%s asks for %.0f s without requests.", self.server.base_url, wait_s)
        self._quiet_until_s = max(self._quiet_until_s, until_s)


def backoff_s(num_failures: int) -> float:
    """Twice as long each time, and never the same for two that failed together."""
    longest_s: float = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**num_failures)
    return random.uniform(0.5, 1.0) * longest_s
