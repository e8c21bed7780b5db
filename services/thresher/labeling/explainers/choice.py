"""Which of several candidates becomes the label: the best on the select split.

The score that a label is reported with is made on other documents, those of the report split. Were it the score that
the label was chosen by, it would be too high by what chance gave the winner (the winner's curse).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from thresher.contracts.states import State
from thresher.labeling.budget.budget import BudgetExhaustedError
from thresher.labeling.endpoints.requests import ModelRequest, RequestFailedError
from thresher.labeling.exemplars.evidence import Evidence
from thresher.labeling.explainers.explainer import Candidate
from thresher.labeling.explainers.phrase import Phrase
from thresher.labeling.scorers.intervals import MIN_DOCUMENTS, plain_value
from thresher.labeling.scorers.reading import Trial
from thresher.labeling.scorers.scorer import Scorer
from thresher.labeling.workers import map_bounded

WORST_LAST = (State.OVER_BUDGET, State.API_ERROR, State.REFUSED, State.UNPARSABLE, State.UNDEFINED)
"""The state of a label without any usable candidate: the first of these that one of them is in. What a larger budget
or another attempt would mend comes first."""


@dataclass(frozen=True)
class Chosen:
    """The label, and how many different ones it was chosen among."""

    candidate: Candidate
    num_candidates: int = 1


class CandidateChooser:
    """Scores candidates on the select split.

    Args:
        scorer: what decides; None where the explainer gives one candidate, and there is nothing to decide.
    """

    def __init__(self, scorer: Scorer | None) -> None:
        self._scorer = scorer

    def requests(self, evidence: Evidence, typical_label: str) -> list[ModelRequest]:
        """What is asked about each candidate."""
        if self._scorer is None:
            return []
        return self._scorer.requests(typical_label, _trials(self._scorer, evidence))

    async def choose(self, candidates: Sequence[Candidate], evidence: Evidence) -> Chosen:
        """The candidate with the highest score; of equal ones, the first.

        Candidates without a score rank behind those with one. Where none has one, or the select split has too few
        texts to tell, the first usable candidate stands. A choice that the budget cuts short is no choice: the label
        is over_budget, and a run with a larger budget makes it.

        Raises:
            EndpointError: the endpoint is down or refuses.
        """
        usable = distinct(candidates)
        if not usable:
            return Chosen(_worst(candidates))
        if self._scorer is None or len(usable) == 1:
            return Chosen(usable[0])
        trials = _trials(self._scorer, evidence)
        if len({trial.document for trial in trials}) < MIN_DOCUMENTS:
            return Chosen(usable[0])
        try:
            scores = await _scores(self._scorer, usable, trials)
        except BudgetExhaustedError:
            first = usable[0]
            cut = Candidate(Phrase(State.OVER_BUDGET, None), first.provenance, first.shown, first.answers)
            return Chosen(cut, len(usable))
        return Chosen(usable[scores.index(max(scores))], len(usable))


def _trials(scorer: Scorer, evidence: Evidence) -> list[Trial]:
    """One batch: a choice is no report."""
    return [trial for trial in scorer.trials(evidence.feature, evidence.of("select")) if trial.batch == 0]


async def _scores(scorer: Scorer, candidates: Sequence[Candidate], trials: Sequence[Trial]) -> list[float]:
    """Of each candidate; minus infinity where there is none."""

    async def score(candidate: Candidate) -> float:
        assert candidate.phrase.text is not None
        try:
            readings = await scorer.observe(candidate.phrase.text, trials)
        except RequestFailedError:
            return -math.inf
        observed = scorer.measures(readings)[scorer.name]
        value = plain_value(observed)
        is_read = observed.num_unparsed <= observed.num_scored
        return value if is_read and not math.isnan(value) else -math.inf

    return await map_bounded(score, candidates, len(candidates))


def distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Usable candidates, the first of each text, whatever its case."""
    found: dict[str, Candidate] = {}
    for item in candidates:
        if item.is_ok and item.phrase.text is not None:
            found.setdefault(item.phrase.text.casefold(), item)
    return list(found.values())


def _worst(candidates: Sequence[Candidate]) -> Candidate:
    return min(candidates, key=lambda item: WORST_LAST.index(item.phrase.state))
