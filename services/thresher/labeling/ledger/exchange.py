"""Ask once: from the ledger if the answer is there, else from the endpoint, within the budget, and stored first."""

import asyncio
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

from thresher.labeling.budget.budget import Budget
from thresher.labeling.endpoints.model_client import ModelClient
from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.ledger.ledger import Ledger


class Exchange:
    """Where explainers and scorers ask. Equal requests, even at the same moment, are sent once.

    Args:
        client: of the model that is asked.
        ledger: where answers are kept; may be shared between exchanges.
        budget: what may be spent; shared likewise.
    """

    def __init__(self, client: ModelClient, ledger: Ledger, budget: Budget) -> None:
        self.client, self._ledger, self._budget = client, ledger, budget
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def endpoint(self) -> EndpointSpec:
        return self.client.spec

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._ledger.close()
        await self.client.close()

    async def ask(self, request: ModelRequest) -> Answer:
        """The stored answer to a request; when this returns, it is durable.

        Raises:
            BudgetExhaustedError: the request was not sent, since it could exceed the budget.
            EndpointError, RequestFailedError: as ModelClient.send.
            StoreError: the answer could not be stored.
        """
        lock = self._locks.setdefault(request.sha256, asyncio.Lock())
        async with lock:
            stored = await self._ledger.find(request)
            if stored is not None:
                return stored
            answer = await self._pay(request)
            await self._ledger.append(request, answer)
            return answer

    async def _pay(self, request: ModelRequest) -> Answer:
        self._budget.reserve(request.max_total_tokens)
        num_used = 0
        try:
            answer = await self.client.send(request)
            num_used = answer.num_tokens
        finally:
            self._budget.settle(request.max_total_tokens, num_used)
        return answer
