"""What becomes of a label beside the shuffled ones."""

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from thresher.contracts.states import State
from thresher.labeling.scorers.observations import Observations
from thresher.labeling.scorers.reading import Reading, Trial
from thresher.labeling.scorers.sequential import SequentialScoring
from thresher.labeling.scorers.spec import BootstrapSpec
from thresher.labeling.scorers.statistics import yes_or_no

TRIALS = [Trial(0, 0, number, (), origin=str(number)) for number in range(8)]


class Judge:
    """Right about every text, of which it says something about the first so many, by label."""

    name = "detection"
    uses_label = True

    def __init__(self, num_said: Mapping[str, int]) -> None:
        self._num_said = num_said

    async def observe(self, label: str, trials: Sequence[Trial]) -> list[Reading]:
        truths = [float(trial.number % 2) for trial in trials]
        said = [truth if number < self._num_said[label] else np.nan for number, truth in enumerate(truths)]
        return [
            Reading(str(trial.number), np.array([truth]), np.array([share]))
            for trial, truth, share in zip(trials, truths, said, strict=True)
        ]

    def measures(self, readings: Sequence[Reading]) -> Mapping[str, Observations]:
        return yes_or_no(self.name, readings)


@pytest.mark.parametrize(
    ("num_said", "lift"), [({"own": 8, "a": 3, "b": 2}, None), ({"own": 8, "a": 3, "b": 6}, 0.0)]
)
def test_a_shuffled_label_that_cannot_be_read_is_no_baseline(num_said, lift) -> None:
    scoring = SequentialScoring(BootstrapSpec(num_resamples=100), None, seed=0)
    found = asyncio.run(scoring.score(Judge(num_said), list(num_said), TRIALS))
    own, first, _ = found["detection"]
    assert own.state == State.OK
    assert own.lift.value == lift
    assert (first.state, first.estimate.value) == (State.UNPARSABLE, None)
