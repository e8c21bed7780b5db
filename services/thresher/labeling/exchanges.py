"""An exchange for each model that a run asks, all under one budget and one account."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from thresher.labeling.budget.account import Account
from thresher.labeling.budget.budget import Budget
from thresher.labeling.endpoints.client import EndpointClient
from thresher.labeling.endpoints.model_client import ModelClient
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.ledger.ledger import Ledger


class Exchanges:
    """Opened when they are first needed, closed together. Equal endpoints share one, and its concurrency.

    Args:
        default: the endpoint of whoever has none of its own.
        budget: what may be spent.
        account: where it is noted what was asked.
    """

    def __init__(self, default: EndpointSpec, budget: Budget, account: Account) -> None:
        self._default, self._budget, self._account = default, budget, account
        self._by_endpoint: dict[str, Exchange] = {}
        self._in_process: list[Exchange] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for exchange in self._all():
            await exchange.__aexit__(kind, error, trace)

    def of(self, endpoint: EndpointSpec | None) -> Exchange:
        """Of an endpoint, or of the default one."""
        spec = endpoint or self._default
        key = spec.model_dump_json()
        if key not in self._by_endpoint:
            self._by_endpoint[key] = Exchange(EndpointClient(spec), None, self._budget, self._account)
        return self._by_endpoint[key]

    def around(self, client: ModelClient) -> Exchange:
        """Of a model in this process."""
        self._in_process.append(Exchange(client, None, self._budget, self._account))
        return self._in_process[-1]

    @property
    def clients(self) -> list[EndpointClient]:
        """Of every endpoint asked, the first one first: what they can do is found out before they are asked."""
        found = [exchange.client for exchange in self._by_endpoint.values()]
        return [client for client in found if isinstance(client, EndpointClient)]

    def open_ledgers(self, open_ledger: Callable[[EndpointSpec], Ledger]) -> list[tuple[str, Ledger]]:
        """From now on anything can be asked. Exchanges whose answers lie on one shelf share the ledger.

        Returns: each ledger, after the name of its model.
        """
        ledgers: dict[str, tuple[str, Ledger]] = {}
        for exchange in self._all():
            ledger = open_ledger(exchange.endpoint)
            known = ledgers.setdefault(ledger.name, (exchange.endpoint.model, ledger))
            exchange.open(known[1])
        return list(ledgers.values())

    def _all(self) -> list[Exchange]:
        return [*self._by_endpoint.values(), *self._in_process]
