"""Every label scored on its own feature's texts, and labels of other features on the same: the baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thresher.contracts.states import State
from thresher.labeling.budget.account import charged_to
from thresher.labeling.exemplars.book import ExemplarBook
from thresher.labeling.exemplars.exemplar import sample_sha256
from thresher.labeling.labels import Label
from thresher.labeling.scorers.outcome import Outcome, without
from thresher.labeling.scorers.scorer import Scorer, ScorerIdentity, identity_of
from thresher.labeling.scorers.sequential import SequentialScoring
from thresher.labeling.scorers.spec import CascadeSpec
from thresher.labeling.shuffling import similar_partners
from thresher.labeling.spec import LabelSpec
from thresher.labeling.workers import ITEMS_PER_SLOT, map_bounded
from thresher.runtime.progress import Meter


@dataclass(frozen=True)
class Score:
    """A row of the scores table, without what all rows of a run share."""

    label_id: str
    feature: int
    score_type: str
    scorer: ScorerIdentity
    shuffled: bool
    outcome: Outcome


@dataclass(frozen=True)
class Claim:
    """A label that is tried on a feature's texts."""

    label_id: str
    text: str


@dataclass(frozen=True)
class Contest:
    """A feature's own label and the shuffled ones, to be tried on the same texts."""

    feature: int
    claims: tuple[Claim, ...]
    """Its own first."""


def contests(
    labels: Sequence[Label], density_by_feature: Mapping[int, float], num_shuffles: int, seed: int
) -> list[Contest]:
    """One for each feature that has a label, with labels of features of similar density."""
    own = [
        (label.feature, Claim(label.label_id, label.text))
        for label in labels
        if label.state == State.OK and label.text is not None
    ]
    densities = [density_by_feature[feature] for feature, _ in own]
    partners = similar_partners(densities, num_shuffles, seed)
    return [
        Contest(feature, (claim, *(own[other][1] for other in others)))
        for (feature, claim), others in zip(own, partners, strict=True)
    ]


class ScoreMaker:
    """Runs every scorer over every contest; with a cascade, the later ones only over those that pass the first."""

    def __init__(
        self, spec: LabelSpec, book: ExemplarBook, scorers: Sequence[Scorer], scoring: SequentialScoring
    ) -> None:
        self._spec, self._book, self._scoring = spec, book, scoring
        first = spec.cascade.first if spec.cascade is not None else ()
        self._first = [scorer for scorer in scorers if scorer.name in first]
        self._later = [scorer for scorer in scorers if scorer.name not in first]

    async def make(self, listed: Sequence[Contest], meter: Meter) -> list[Score]:
        """Scores in the order of the contests.

        Raises:
            EndpointError: the endpoint is down or refuses; what was answered is stored.
        """

        async def one(contest: Contest) -> list[Score]:
            with charged_to(contest.feature):
                scores = await self._scores(contest)
            meter.advance(1)
            return scores

        found = await map_bounded(one, listed, ITEMS_PER_SLOT * self._spec.endpoint.concurrency)
        return [score for scores in found for score in scores]

    async def _scores(self, contest: Contest) -> list[Score]:
        scores: list[Score] = []
        for scorer in self._first:
            scores += await self._score(contest, scorer)
        if self._spec.cascade is not None and not passes(scores, self._spec.cascade):
            screened = without(State.SCREENED_OUT, sample_sha256([]))
            return scores + [_row(contest, 0, scorer.name, scorer, screened) for scorer in self._later]
        for scorer in self._later:
            scores += await self._score(contest, scorer)
        return scores

    async def _score(self, contest: Contest, scorer: Scorer) -> list[Score]:
        trials = scorer.trials(contest.feature, self._book.of(contest.feature, "report"))
        outcomes = await self._scoring.score(scorer, [claim.text for claim in contest.claims], trials)
        return [
            _row(contest, index, score_type, scorer, outcome)
            for score_type, of_claims in outcomes.items()
            for index, outcome in enumerate(of_claims)
        ]


def passes(scores: Sequence[Score], cascade: CascadeSpec) -> bool:
    """Whether the feature's own label is worth the later scorers."""
    lifts = {score.score_type: score.outcome.lift for score in scores if not score.shuffled}
    decisive = [
        lifts[name].value if cascade.decide == "value" else lifts[name].ci_low for name in cascade.first
    ]
    return all(number is not None and number > cascade.min_lift for number in decisive)


def _row(contest: Contest, index: int, score_type: str, scorer: Scorer, outcome: Outcome) -> Score:
    identity = identity_of(scorer)
    return Score(contest.claims[index].label_id, contest.feature, score_type, identity, index > 0, outcome)
