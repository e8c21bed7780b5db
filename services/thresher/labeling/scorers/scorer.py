"""What a scorer is."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.observations import Observations
from thresher.labeling.scorers.reading import Reading, Trial

ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class ScorerIdentity:
    """What a scorer is qualified as: itself or one of its score types, who is asked, and in which words."""

    name: str
    model: str
    revision: str
    prompt_sha256: str


class Scorer(Protocol):
    """A way to score a label on what is known of a feature.

    What it says of two labels of one feature can be compared trial by trial, and readings of several batches add up.
    """

    name: str
    """Its section of the spec, and the score type that decides where there are several."""
    uses_label: bool
    """Whether what it says depends on the label; if not, shuffled labels would say nothing."""
    prompt_sha256: str

    @property
    def endpoint(self) -> EndpointSpec:
        """Who is asked."""

    def trials(self, feature: int, exemplars: Sequence[Exemplar]) -> list[Trial]:
        """What there is to ask about, of the exemplars of one split, batch by batch."""

    def requests(self, label: str, trials: Sequence[Trial]) -> list[ModelRequest]:
        """What it will ask, as far as it is known before the first answer."""

    async def observe(self, label: str, trials: Sequence[Trial]) -> list[Reading]:
        """A reading a trial, in order. Raises: as Exchange.ask."""

    def measures(self, readings: Sequence[Reading]) -> Mapping[str, Observations]:
        """Statistics of readings by score type, `name` first."""


def identity_of(scorer: Scorer) -> ScorerIdentity:
    endpoint = scorer.endpoint
    return ScorerIdentity(scorer.name, endpoint.model, endpoint.revision, scorer.prompt_sha256)


async def ask_all(exchange: Exchange, requests: Sequence[ModelRequest]) -> list[Answer]:
    """Answers in order. One that fails does not end the others, which may be paid for already.

    Raises: as Exchange.ask, once all have ended.
    """
    return await all_of(map(exchange.ask, requests))


async def all_of(asked: Iterable[Awaitable[ResultT]]) -> list[ResultT]:
    """Results in order, as ask_all. Raises: what one of them raises, once all have ended."""
    results = await asyncio.gather(*asked, return_exceptions=True)
    found = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        found.append(result)
    return found
