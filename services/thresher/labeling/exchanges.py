"""The endpoints of a run, each with its ledger, under one budget and one account."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from thresher.labeling.budget.account import Account
from thresher.labeling.budget.budget import Budget
from thresher.labeling.budget.prices import Charge, PriceTable
from thresher.labeling.endpoints.client import EndpointClient
from thresher.labeling.endpoints.models import ModelCard
from thresher.labeling.endpoints.spec import UNSTATED, EndpointSpec
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.ledger.ledger import Ledger, shelf_of
from thresher.labeling.opening import Opened


@dataclass(frozen=True)
class Exchanges:
    """Where a run asks. `explaining` is `scoring` itself unless the explainer has an endpoint of its own."""

    scoring: Exchange
    explaining: Exchange
    ledgers: tuple[Ledger, ...]
    budget: Budget
    account: Account


@asynccontextmanager
async def open_clients(opened: Opened) -> AsyncIterator[tuple[EndpointClient, EndpointClient]]:
    """The scorer's and the explainer's client; one and the same if they share the endpoint."""
    async with AsyncExitStack() as stack:
        scoring = EndpointClient(opened.spec.endpoint)
        stack.push_async_callback(scoring.close)
        explaining = scoring
        if opened.spec.explainer.endpoint is not None:
            explaining = EndpointClient(opened.spec.explainer.endpoint)
            stack.push_async_callback(explaining.close)
        yield scoring, explaining


def make_exchanges(
    opened: Opened, scoring: EndpointClient, explaining: EndpointClient, cards: Mapping[str, ModelCard]
) -> Exchanges:
    """Open the ledgers; `cards` says what is served, by the name of the model."""
    ledgers: dict[str, Ledger] = {}
    spent, prices = Charge(), PriceTable(opened.spec.budget.prices)

    def ledger_of(endpoint: EndpointSpec) -> Ledger:
        nonlocal spent
        card = cards.get(endpoint.model)
        shelf = shelf_of(endpoint.model, endpoint.revision, card.root if card else None)
        if shelf not in ledgers:
            ledgers[shelf] = Ledger(
                opened.store, shelf, opened.run_id, is_dated=endpoint.revision == UNSTATED
            )
            spent += prices.charge(endpoint.model, ledgers[shelf].paid())
        return ledgers[shelf]

    by_client = {id(client): ledger_of(client.spec) for client in (scoring, explaining)}
    limits = opened.spec.budget
    budget = Budget(limits.max_tokens, spent, max_cost=limits.max_cost, prices=prices)
    account = Account(prices)
    exchange = Exchange(scoring, by_client[id(scoring)], budget, account)
    other = exchange
    if explaining is not scoring:
        other = Exchange(explaining, by_client[id(explaining)], budget, account)
    return Exchanges(exchange, other, tuple(ledgers.values()), budget, account)
