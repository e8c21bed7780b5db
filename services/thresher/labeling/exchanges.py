"""An exchange for each model that a run asks, all under one budget and one account."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from thresher.labeling.budget.account import Account
from thresher.labeling.budget.budget import Budget
from thresher.labeling.budget.prices import PriceTable
from thresher.labeling.budget.spec import BudgetSpec
from thresher.labeling.endpoints.client import EndpointClient
from thresher.labeling.endpoints.model_client import ModelClient
from thresher.labeling.endpoints.models import ModelCard
from thresher.labeling.endpoints.spec import UNSTATED, EndpointSpec
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.ledger.ledger import Ledger, shelf_of
from thresher.storage import ObjectStore


class Exchanges:
    """Opened when they are first needed, closed together. Equal endpoints share one, and its concurrency.

    Args:
        default: the endpoint of whoever has none of its own.
        limits: what may be spent, and what tokens cost.
    """

    def __init__(self, default: EndpointSpec, limits: BudgetSpec) -> None:
        self._default = default
        prices = PriceTable(limits.prices)
        self.budget = Budget(limits.max_tokens, max_cost=limits.max_cost, prices=prices)
        self.account = Account(prices)
        self.ledgers: dict[str, Ledger] = {}
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
            self._by_endpoint[key] = Exchange(EndpointClient(spec), None, self.budget, self.account)
        return self._by_endpoint[key]

    def around(self, client: ModelClient) -> Exchange:
        """Of a model in this process."""
        self._in_process.append(Exchange(client, None, self.budget, self.account))
        return self._in_process[-1]

    @property
    def clients(self) -> list[EndpointClient]:
        """Of every endpoint asked, the first one first: what they can do is found out before they are asked."""
        found = [exchange.client for exchange in self._by_endpoint.values()]
        return [client for client in found if isinstance(client, EndpointClient)]

    def open_ledgers(self, store: ObjectStore, run_id: str, cards: Mapping[str, ModelCard]) -> None:
        """From now on anything can be asked. What earlier attempts at the run have spent counts.

        Args:
            cards: what is served, by the address of the endpoint.
        """
        for exchange in self._all():
            spec = exchange.endpoint
            card = cards.get(spec.servers[0].base_url)
            shelf = shelf_of(spec.model, spec.revision, card.root if card else None)
            if shelf not in self.ledgers:
                is_dated = spec.revision == UNSTATED
                self.ledgers[shelf] = Ledger(store, shelf, run_id, is_dated=is_dated)
                self.budget.add(self.budget.prices.charge(spec.model, self.ledgers[shelf].paid()))
            exchange.open(self.ledgers[shelf])

    def _all(self) -> list[Exchange]:
        return [*self._by_endpoint.values(), *self._in_process]
