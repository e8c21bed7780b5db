"""Every label scored on its own feature's contexts, and labels of other features on the same: the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from thresher.contracts.states import State
from thresher.labeling.budget.account import charged_to
from thresher.labeling.budget.budget import BudgetExhaustedError
from thresher.labeling.endpoints.needs import Need
from thresher.labeling.endpoints.requests import ModelRequest, RequestFailedError
from thresher.labeling.exemplars.book import Exemplar, ExemplarBook, sample_sha256
from thresher.labeling.labels import Label
from thresher.labeling.scorers.outcome import UNDEFINED, Outcome
from thresher.labeling.shuffling import derangements
from thresher.labeling.spec import LabelSpec
from thresher.labeling.workers import WORKERS_PER_REQUEST, map_bounded
from thresher.runtime.progress import Meter

MIN_DOCUMENTS = 2


class Scorer(Protocol):
    """A way to score a label on a feature's report exemplars."""

    score_type: str
    prompt_sha256: str

    @property
    def needs(self) -> tuple[Need, ...]:
        """What its endpoint must be able to do."""

    def contexts(self, exemplars: Sequence[Exemplar]) -> list[Exemplar]: ...

    def requests(self, label: str, contexts: Sequence[Exemplar]) -> list[ModelRequest]: ...

    async def score(self, label: str, contexts: Sequence[Exemplar]) -> Outcome: ...


@dataclass(frozen=True)
class Score:
    """A row of the scores table, without what all rows of a run share."""

    label_id: str
    feature: int
    score_type: str
    prompt_sha256: str
    shuffled: bool
    outcome: Outcome


@dataclass(frozen=True)
class Pairing:
    """A label's text to be tried on a feature's contexts."""

    feature: int
    label_id: str
    text: str
    shuffled: bool


def pairings(labels: Sequence[Label], num_shuffles: int, seed: int) -> list[Pairing]:
    """Each label with its own feature, then each feature with labels of others."""
    own = [
        Pairing(label.feature, label.label_id, label.text, shuffled=False)
        for label in labels
        if label.state == State.OK and label.text is not None
    ]
    return own + [
        Pairing(item.feature, own[other].label_id, own[other].text, shuffled=True)
        for partner in derangements(len(own), num_shuffles, seed)
        for item, other in zip(own, partner, strict=True)
    ]


class ScoreMaker:
    """Runs every scorer over every pairing."""

    def __init__(self, spec: LabelSpec, book: ExemplarBook, scorers: Sequence[Scorer]) -> None:
        self._spec, self._book, self._scorers = spec, book, scorers

    async def make(self, pairs: Sequence[Pairing], meter: Meter) -> list[Score]:
        """Scores in the order of the pairings.

        Raises:
            EndpointError: the endpoint is down or refuses; what was answered is stored.
        """

        async def one(work: tuple[Pairing, Scorer]) -> Score:
            with charged_to(work[0].feature):
                score = await self._score(*work)
            meter.advance(1)
            return score

        work = [(pair, scorer) for scorer in self._scorers for pair in pairs]
        return await map_bounded(one, work, WORKERS_PER_REQUEST * self._spec.endpoint.concurrency)

    async def _score(self, pair: Pairing, scorer: Scorer) -> Score:
        contexts = scorer.contexts(self._book.of(pair.feature, "report"))
        try:
            outcome = (
                await scorer.score(pair.text, contexts)
                if _enough(contexts)
                else _without(State.TOO_RARE, contexts)
            )
        except BudgetExhaustedError:
            outcome = _without(State.OVER_BUDGET, contexts)
        except RequestFailedError:
            outcome = _without(State.API_ERROR, contexts)
        return Score(
            pair.label_id, pair.feature, scorer.score_type, scorer.prompt_sha256, pair.shuffled, outcome
        )


def _enough(contexts: Sequence[Exemplar]) -> bool:
    return len(contexts) >= MIN_DOCUMENTS  # contexts are of distinct documents


def _without(state: State, contexts: Sequence[Exemplar]) -> Outcome:
    return Outcome(state, UNDEFINED, 0, 0, sample_sha256(contexts))
