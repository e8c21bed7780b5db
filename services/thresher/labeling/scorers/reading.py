"""What is asked about, and what came back.

Shapes: N observations of a trial (tokens for simulation, else one).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.contracts.exemplars import ExemplarKind
from thresher.labeling.exemplars.contexts import choose_kinds
from thresher.labeling.exemplars.exemplar import Exemplar

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trial:
    """One thing to ask about: texts of one feature. No document is in two trials of a feature.

    Args:
        batch: when it is its turn: a score is made of the first batch, and of more where that is not enough.
        number: tells trials of a feature apart, where they hold no texts.
        peak: the feature's largest activation on the exemplars of the split: predictions are on a scale up to it.
        origin: what texts that are yet to be made are made from, where the trial holds none; trials of a feature differ
            in it.
    """

    feature: int
    batch: int
    number: int
    contexts: tuple[Exemplar, ...]
    peak: float = 1.0
    origin: str | None = None

    @property
    def document(self) -> str:
        """What is resampled: the document, or what texts are made from, or the trial where it holds several."""
        if self.origin is not None:
            return self.origin
        return self.contexts[0].doc_id if len(self.contexts) == 1 else f"trial {self.number}"


@dataclass(frozen=True)
class Reading:
    """What a scorer read off the answers to one trial.

    Args:
        document: what is resampled together.
        kind: of the text, where there is one.
        truth_N: what is so; activations as shares of the peak, or 1 and 0.
        predicted_N: what was said, on the same scale; NaN where the answer was of no use.
        digit_mass: mean probability on digits where one was due, for simulation by log-probabilities.
    """

    document: str
    truth_N: FloatArray
    predicted_N: FloatArray
    kind: ExemplarKind | None = None
    digit_mass: float | None = None


def verdict(trial: Trial, truth: bool, said: float | None) -> Reading:
    """A reading of one observation; `said` is the share of yes, 0 to 1, None where it was not to be read."""
    kind = trial.contexts[0].kind if len(trial.contexts) == 1 else None
    predicted_N = np.array([np.nan if said is None else said], np.float64)
    return Reading(trial.document, np.array([float(truth)]), predicted_N, kind)


@dataclass(frozen=True)
class Sampling:
    """How trials are drawn: the same everywhere in a run.

    Args:
        num_batches: the most that a score may be made of; each has the numbers of texts that the scorer's spec says.
    """

    seed: int
    num_batches: int = 1


def single_trials(
    feature: int,
    exemplars: Sequence[Exemplar],
    counts: Sequence[tuple[ExemplarKind, int]],
    sampling: Sampling,
    num_tokens: int,
) -> list[Trial]:
    """A trial a text, batch by batch. Each batch has the same mix of kinds, spread over the ranks of each.

    There are as many batches as the scarcest kind fills, so that the mix is that of the spec however many are used.
    """
    wanted = [(kind, count * sampling.num_batches) for kind, count in counts]
    found = choose_kinds(exemplars, wanted, num_tokens=num_tokens, seed=sampling.seed)
    by_kind = {kind: [item for item in found if item.kind == kind] for kind, _ in counts}
    filled = [len(by_kind[kind]) // count for kind, count in counts if count and by_kind[kind]]
    num_batches = max(1, min(filled, default=1))
    dealt = [
        (index % num_batches, item)
        for kind, count in counts
        for index, item in enumerate(by_kind[kind][: count * num_batches])
    ]
    in_order = sorted(dealt, key=lambda pair: pair[0])
    peak = peak_of(exemplars)
    return [Trial(feature, batch, number, (item,), peak) for number, (batch, item) in enumerate(in_order)]


def peak_of(exemplars: Sequence[Exemplar]) -> float:
    """The largest activation on the exemplars; 1 where there is none."""
    return max((float(item.activations_C.max()) for item in exemplars), default=0.0) or 1.0
