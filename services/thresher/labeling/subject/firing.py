"""How strongly a feature fires on texts that are in no corpus."""

from collections.abc import Sequence
from typing import Protocol

from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.subject.requests import Ground, firing_request


class Firing(Protocol):
    """Where a feature is that fires."""

    def requests(self, feature: int, texts: Sequence[str]) -> list[ModelRequest]:
        """What will be asked of the subject; nothing where there is none."""

    async def largest(self, feature: int, texts: Sequence[str]) -> list[float | None]:
        """Its largest activation on each text, 0 where it does not fire, None where no position counts.

        Raises: as Exchange.ask.
        """


class SubjectFiring:
    """On rows of the subject model, through its exchange.

    Args:
        purpose: what it is asked for.
    """

    def __init__(self, exchange: Exchange, ground: Ground, purpose: str) -> None:
        self._exchange, self._ground, self._purpose = exchange, ground, purpose

    def requests(self, feature: int, texts: Sequence[str]) -> list[ModelRequest]:
        if not texts:
            return []
        return [firing_request(self._exchange.endpoint, self._purpose, self._ground, feature, texts)]

    async def largest(self, feature: int, texts: Sequence[str]) -> list[float | None]:
        answers = [await self._exchange.ask(request) for request in self.requests(feature, texts)]
        return [activation for answer in answers for activation in answer.body["largest_activations"]]
