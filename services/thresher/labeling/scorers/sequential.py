"""A label and the shuffled ones scored on the same trials, in step, until the interval is narrow enough.

Each look at an interval is a chance to stop on a lucky one, so that the interval at which one stops covers less often
than it says (measured: tests/unit/labeling/scorers/test_coverage.py). The looks are fixed beforehand, and each has its
share of the error allowed (Bonferroni): all cover together, so the last one does, whatever made it the last.
"""

import asyncio
from collections.abc import Mapping, Sequence

from thresher.contracts.ids import canonical_json, sha256_hex
from thresher.contracts.states import State
from thresher.labeling.budget.budget import BudgetExhaustedError
from thresher.labeling.endpoints.requests import RequestFailedError
from thresher.labeling.exemplars.exemplar import sample_sha256
from thresher.labeling.scorers.intervals import MIN_DOCUMENTS, estimate, lift
from thresher.labeling.scorers.observations import Observations
from thresher.labeling.scorers.outcome import Outcome, digit_mass, is_unparsable, outcome_of, without
from thresher.labeling.scorers.reading import Reading, Trial
from thresher.labeling.scorers.scorer import Scorer
from thresher.labeling.scorers.spec import BootstrapSpec, StoppingSpec

Outcomes = dict[str, list[Outcome]]
"""By score type, one a label: the feature's own, then the shuffled ones."""


class SequentialScoring:
    """How every scorer's trials are put to labels.

    Args:
        stopping: when it is enough; None puts all trials at once.
    """

    def __init__(self, bootstrap: BootstrapSpec, stopping: StoppingSpec | None, seed: int) -> None:
        self._bootstrap, self._stopping, self._seed = bootstrap, stopping, seed

    @property
    def num_looks(self) -> int:
        return 1 if self._stopping is None else len(self._stopping.looks)

    @property
    def num_batches(self) -> int:
        """Batches of trials that may be needed."""
        return 1 if self._stopping is None else self._stopping.looks[-1]

    async def score(self, scorer: Scorer, labels: Sequence[str], trials: Sequence[Trial]) -> Outcomes:
        """What becomes of each label. Fewer than two documents are too few.

        A label whose first batch fails has that for its state. Where a later one fails, or the budget forbids it, all
        keep what they have.

        Raises:
            EndpointError: the endpoint is down or refuses; what was answered is stored.
        """
        if not scorer.uses_label:
            labels = labels[:1]
        used: list[Trial] = []
        found: list[list[Reading] | State] = [State.TOO_RARE for _ in labels]
        if len({trial.document for trial in trials}) < MIN_DOCUMENTS:
            return {scorer.name: [without(State.TOO_RARE, _sample(trials)) for _ in labels]}
        outcomes: Outcomes = {}
        for batch in self._batches(trials):
            read = await asyncio.gather(*(_observe(scorer, label, batch) for label in labels))
            if used and any(isinstance(item, State) for item in read):
                break
            found = (
                [_joined(before, new) for before, new in zip(found, read, strict=True)]
                if used
                else list(read)
            )
            used += batch
            outcomes = self._outcomes(scorer, found, used)
            if self._is_enough(outcomes[scorer.name][0]):
                break
        return outcomes

    def _batches(self, trials: Sequence[Trial]) -> list[list[Trial]]:
        if self._stopping is None:
            return [list(trials)]
        starts = [0, *self._stopping.looks]
        batches = [
            [trial for trial in trials if start <= trial.batch < stop]
            for start, stop in zip(starts, self._stopping.looks, strict=False)
        ]
        return [batch for batch in batches if batch]

    def _outcomes(
        self, scorer: Scorer, found: Sequence[list[Reading] | State], used: Sequence[Trial]
    ) -> Outcomes:
        measured = [None if isinstance(item, State) else scorer.measures(item) for item in found]
        types = dict.fromkeys(name for item in measured if item is not None for name in item)
        sample = _sample(used)
        return {
            score_type: [
                without(item, sample)
                if isinstance(item, State)
                else self._outcome(score_type, index, measured, sample, digit_mass(item))
                for index, item in enumerate(found)
            ]
            for score_type in types or [scorer.name]
        }

    def _outcome(
        self,
        score_type: str,
        index: int,
        measured: Sequence[Mapping[str, Observations] | None],
        sample: str,
        mass: float | None,
    ) -> Outcome:
        mine = measured[index]
        assert mine is not None, "it was observed"
        shuffled = [item[score_type] for item in measured[1:] if item is not None] if index == 0 else []
        baseline = [item for item in shuffled if not is_unparsable(item)]
        arguments = (self._bootstrap, self._seed, self.num_looks)
        observed = mine[score_type]
        return outcome_of(
            observed, estimate(observed, *arguments), lift(observed, baseline, *arguments), sample, mass
        )

    def _is_enough(self, outcome: Outcome) -> bool:
        if self._stopping is None:
            return True
        width = outcome.lift.width if outcome.lift.value is not None else outcome.estimate.width
        return width is not None and width <= self._stopping.target_width


async def _observe(scorer: Scorer, label: str, trials: Sequence[Trial]) -> list[Reading] | State:
    try:
        return await scorer.observe(label, trials)
    except BudgetExhaustedError:
        return State.OVER_BUDGET
    except RequestFailedError:
        return State.API_ERROR


def _joined(before: list[Reading] | State, new: list[Reading] | State) -> list[Reading] | State:
    return before if isinstance(before, State) or isinstance(new, State) else before + new


def _sample(trials: Sequence[Trial]) -> str:
    origins = [trial.origin for trial in trials if trial.origin is not None]
    if origins:
        return sha256_hex(canonical_json(origins).encode())
    return sample_sha256([context for trial in trials for context in trial.contexts])
