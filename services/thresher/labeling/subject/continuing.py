"""How texts go on with a feature steered, and with another one in its place."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.subject.requests import Ground, SteeringTerms, steering_request


class Continuing(Protocol):
    """Who goes on with prompts. Prompts are told apart by their number, from 0."""

    def requests(self, feature: int, number: int, prompt: str) -> list[ModelRequest]:
        """What will be asked of the subject; nothing where there is none."""

    async def pair(self, feature: int, number: int, prompt: str) -> tuple[str, str]:
        """The prompt and what follows it: with the feature added, and with another.

        Raises: as Exchange.ask.
        """


class SubjectContinuing:
    """By the subject model, through its exchange.

    Args:
        purpose: what it is asked for.
        terms: how texts are steered.
        pool: other features, one of which is drawn for each feature and prompt.
        seed: of that draw.
    """

    def __init__(
        self,
        exchange: Exchange,
        ground: Ground,
        purpose: str,
        terms: SteeringTerms,
        pool: Sequence[int],
        seed: int,
    ) -> None:
        self._exchange, self._ground, self._purpose, self._terms = exchange, ground, purpose, terms
        self._pool, self._seed = pool, seed

    def requests(self, feature: int, number: int, prompt: str) -> list[ModelRequest]:
        endpoint, features = self._exchange.endpoint, (feature, self._other(feature, number))
        return [
            steering_request(endpoint, self._purpose, self._ground, added, self._terms, prompt)
            for added in features
        ]

    async def pair(self, feature: int, number: int, prompt: str) -> tuple[str, str]:
        steered, control = [
            prompt + _text(await self._exchange.ask(request))
            for request in self.requests(feature, number, prompt)
        ]
        return steered, control

    def _other(self, feature: int, number: int) -> int:
        """Each prompt of a feature has another, until all have had their turn."""
        others = [other for other in self._pool if other != feature]
        order = np.random.default_rng([self._seed, feature]).permutation(len(others))
        return others[int(order[number % len(others)])]


def control_pool(live: Sequence[int], labelled: Sequence[int], count: int, seed: int) -> list[int]:
    """`count` features that fire, drawn once for a run, so that their texts serve all its features.

    They are none of those that the run labels, if there are enough others: a shuffled label is one of theirs, and would
    be right about the control.
    """
    outside = sorted(set(live) - set(labelled))
    drawn_from = outside if len(outside) >= count else sorted(live)
    order = np.random.default_rng(seed).permutation(len(drawn_from))
    return [drawn_from[int(place)] for place in order[:count]]


def _text(answer: Answer) -> str:
    return str(answer.choice["text"])
