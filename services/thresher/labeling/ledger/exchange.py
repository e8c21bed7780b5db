"""Ask once: from the ledger if the answer is there, else from the endpoint, within the budget, and stored first."""

import asyncio
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

from thresher.labeling.budget.account import Account
from thresher.labeling.budget.budget import Budget
from thresher.labeling.budget.prices import Charge, Usage
from thresher.labeling.endpoints.model_client import ModelClient
from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.ledger.ledger import Ledger


class Exchange:
    """Where explainers and scorers ask. Equal requests, even at the same moment, are sent once.

    Args:
        client: of the model that is asked.
        ledger: where answers are kept; may be shared between exchanges. None until `open` gives one.
        budget: what may be spent; shared likewise.
        account: where it is noted what was asked for which feature; shared likewise.
    """

    def __init__(
        self, client: ModelClient, ledger: Ledger | None, budget: Budget, account: Account | None = None
    ) -> None:
        self.client, self._ledger, self._budget = client, ledger, budget
        self._account = account or Account(budget.prices)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def endpoint(self) -> EndpointSpec:
        return self.client.spec

    def open(self, ledger: Ledger) -> None:
        """Before anything is asked."""
        self._ledger = ledger

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ledger is not None:
            await self._ledger.close()
        await self.client.close()

    async def ask(self, request: ModelRequest) -> Answer:
        """The stored answer to a request; when this returns, it is durable.

        Raises:
            BudgetExhaustedError: the request was not sent, since it could exceed the budget.
            EndpointError, RequestFailedError: as ModelClient.send.
            StoreError: the answer could not be stored.
        """
        ledger = self._ledger
        assert ledger is not None, "opened before it is asked"
        lock = self._locks.setdefault(request.sha256, asyncio.Lock())
        async with lock:
            stored = await ledger.find(request)
            answer = stored.answer if stored is not None else await self._pay(request)
            if stored is None:
                await ledger.append(request, answer)
        is_paid = stored is None or stored.is_paid
        self._account.note(ledger.name, request, _usage(answer), is_paid=is_paid)
        return answer

    async def _pay(self, request: ModelRequest) -> Answer:
        most = self._charge(request, Usage(request.max_prompt_tokens, request.max_completion_tokens))
        self._budget.reserve(most)
        used = Charge()
        try:
            # A garbled answer was paid for too, and nobody knows how much: it counts as the most it can have been.
            answer = await self.client.send(request, on_wasted=lambda: self._budget.add(most))
            used = self._charge(request, _usage(answer))
        finally:
            self._budget.settle(most, used)
        return answer

    def _charge(self, request: ModelRequest, usage: Usage) -> Charge:
        return self._budget.prices.charge(request.model, usage)


def _usage(answer: Answer) -> Usage:
    return Usage(answer.num_prompt_tokens, answer.num_completion_tokens, answer.num_cached_tokens)
