"""An OpenAI-compatible endpoint: patient retries over all its servers, errors that say whose fault it is."""

import asyncio
import logging
from collections.abc import Callable

import openai

from thresher.contracts.errors import EndpointError
from thresher.labeling.endpoints.answers import parse_answer
from thresher.labeling.endpoints.failures import Failure
from thresher.labeling.endpoints.models import ModelCard, common_models, parse_models
from thresher.labeling.endpoints.pool import ReplicaPool
from thresher.labeling.endpoints.replica import Replica, backoff_s
from thresher.labeling.endpoints.requests import Answer, ModelRequest, RequestFailedError
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.endpoints.transport import list_models, post

logger = logging.getLogger(__name__)

MALFORMED_ATTEMPTS = 3
MAX_FAILURES_IN_A_ROW = 8
LONGEST_WAIT_S = 300.0


class EndpointClient:
    """Sends requests to one model.

    Rate limits, server errors, broken connections and timeouts are tried again up to `max_retries` times, garbled
    answers twice. A server's Retry-After holds for all its requests; one that keeps on failing is left out for a while.
    """

    def __init__(self, spec: EndpointSpec) -> None:
        self.spec = spec
        self._pool = ReplicaPool(spec)
        self._failures_in_a_row = 0

    async def close(self) -> None:
        await self._pool.close()

    async def served_models(self) -> dict[str, ModelCard]:
        """Models that every server serves which can be reached, by name.

        Raises:
            EndpointError: none can be reached, or one refuses the key.
        """
        found = await asyncio.gather(*(self._models(replica) for replica in self._pool.replicas))
        served = [models for models in found if not isinstance(models, Failure)]
        failures = [failure for failure in found if isinstance(failure, Failure)]
        for failure in failures:
            if failure.kind == "refused" or not served:
                raise failure.error
            logger.warning("%s The other servers go on without it.", failure.error)
        return common_models(served)

    async def send(self, request: ModelRequest, on_wasted: Callable[[], None] = lambda: None) -> Answer:
        """Ask, and wait for a well-formed answer.

        Args:
            on_wasted: called for each answer that came, was paid for and is of no use.

        Raises:
            EndpointError: the endpoint is down, refuses the key, has no such model, or keeps on failing.
            RequestFailedError: it refuses or garbles this request alone.
        """
        try:
            answer = await self._send(request, on_wasted)
        except RequestFailedError as error:
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                raise self._gives_up(self._failures_in_a_row, error) from error
            raise
        self._failures_in_a_row = 0
        return answer

    async def try_one(self, request: ModelRequest) -> Answer:
        """As `send`, for a request that may well be refused: that says nothing of the endpoint."""
        return await self._send(request, lambda: None)

    async def _send(self, request: ModelRequest, on_wasted: Callable[[], None]) -> Answer:
        async def call(client: openai.AsyncOpenAI) -> Answer:
            return parse_answer(request, await post(client, request))

        num_failed, num_malformed, failed = 0, 0, None
        while True:
            replica = await self._pool.acquire(failed)
            try:
                outcome = await replica.attempt(call)
            finally:
                self._pool.release(replica)
            if not isinstance(outcome, Failure):
                return outcome
            if outcome.kind == "malformed":
                on_wasted()
                num_malformed += 1
            else:
                num_failed += 1
            self._check_may_repeat(outcome, replica, num_failed, num_malformed)
            failed = replica
            if outcome.kind == "broken" and not self._pool.others_in(replica):
                await asyncio.sleep(backoff_s(num_failed - 1))

    def _check_may_repeat(
        self, failure: Failure, replica: Replica, num_failed: int, num_malformed: int
    ) -> None:
        """Raise what ends the request, if it ends."""
        alone = not self._pool.others_in(replica)
        if failure.kind == "request" or (failure.kind == "refused" and alone):
            raise failure.error
        if num_malformed >= MALFORMED_ATTEMPTS:
            raise RequestFailedError(f"{num_malformed} times {failure.error}", is_garbled=True)
        if num_failed > self.spec.max_retries and failure.kind != "malformed":
            raise failure.error
        if alone and failure.wait_s is not None and failure.wait_s > LONGEST_WAIT_S:
            raise EndpointError(
                f"{replica.server.base_url} asks to be left alone for {failure.wait_s:,.0f} s: run again after that, "
                "stored answers are not asked for again."
            )
        if self._pool.is_hopeless:
            raise self._gives_up(sum(item.breaker.num_trips for item in self._pool.replicas), failure.error)

    def _gives_up(self, num_failures: int, error: Exception) -> EndpointError:
        where = ", ".join(server.base_url for server in self.spec.servers)
        return EndpointError(
            f"{where} failed {num_failures} requests in a row, the last with: {error} "
            "Mend it and run again: stored answers are not asked for again."
        )

    async def _models(self, replica: Replica) -> dict[str, ModelCard] | Failure:
        async def call(client: openai.AsyncOpenAI) -> dict[str, ModelCard]:
            return parse_models(await list_models(client))

        num_failed = 0
        while True:
            replica.take()
            try:
                outcome = await replica.attempt(call)
            finally:
                replica.release()
            if not isinstance(outcome, Failure) or outcome.kind in ("refused", "request"):
                return outcome
            num_failed += 1
            if num_failed > self.spec.max_retries:
                return outcome
            await asyncio.sleep(min(outcome.wait_s or backoff_s(num_failed - 1), LONGEST_WAIT_S))
