"""Readings, by document, and what a statistic of them is: a function of weights over documents, so that any can be
resampled. The statistics themselves are in statistics.py.

Shapes: N observations, D documents with the guards after them, G guards, S sums, B sets of weights.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.labeling.scorers.reading import FloatArray, Reading


@dataclass(frozen=True)
class Scale:
    """Where a statistic's sampling distribution is near a normal one: `to` it, and `back`.

    Args:
        lowest, highest: values that the statistic can have.
    """

    lowest: float
    highest: float
    to: Callable[[FloatArray], FloatArray]
    back: Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, kw_only=True)
class Observations(ABC):
    """A statistic of what was observed.

    Args:
        documents: what is resampled.
        scale: where its sampling distribution is near a normal one.
        num_informative: documents that its spread hangs on: for activations, those in which the feature fires.
        num_scored, num_unparsed: observations that entered it, and that were asked for but not to be read.
        num_guards: made-up documents behind the real ones, at the ends of what is possible.
    """

    documents: tuple[str, ...]
    scale: Scale
    num_informative: int
    num_scored: int
    num_unparsed: int
    num_guards: int = 0

    @abstractmethod
    def value(self, weights_BD: FloatArray) -> FloatArray:
        """values_B of documents, then guards, weighted so; NaN where the statistic is undefined."""


@dataclass(frozen=True, kw_only=True)
class SumObservations(Observations):
    """A statistic that is a formula of sums over documents: a resample weighs sums and never touches rows."""

    sums_DS: FloatArray
    formula: Callable[[FloatArray], FloatArray]

    def value(self, weights_BD: FloatArray) -> FloatArray:
        return self.formula(weights_BD @ self.sums_DS)


@dataclass(frozen=True, kw_only=True)
class RankObservations(Observations):
    """The share of pairs, one of each class, in which the active one ranks higher (AUROC): a quadratic form.

    Args:
        wins_DD: pairs won by the row's active observations against the column's inactive ones, ties one half.
    """

    wins_DD: FloatArray
    num_active_D: FloatArray
    num_inactive_D: FloatArray

    def value(self, weights_BD: FloatArray) -> FloatArray:
        pairs_B = (weights_BD @ self.num_active_D) * (weights_BD @ self.num_inactive_D)
        won_B = ((weights_BD @ self.wins_DD) * weights_BD).sum(axis=1)
        share_B: FloatArray = won_B / np.where(pairs_B > 0, pairs_B, np.nan)
        return share_B


@dataclass(frozen=True)
class Rows:
    """Readings, row by row, without what could not be read."""

    documents: tuple[str, ...]
    document_N: npt.NDArray[np.int64]
    truth_N: FloatArray
    predicted_N: FloatArray
    num_unparsed: int

    def sums_by_document(self, sums_NS: FloatArray) -> FloatArray:
        sums_DS = np.zeros((len(self.documents), sums_NS.shape[1]))
        np.add.at(sums_DS, self.document_N, sums_NS)
        return sums_DS


def rows_of(readings: Sequence[Reading]) -> Rows:
    """Documents are in order of appearance: those of two labels on the same trials agree."""
    documents = tuple(dict.fromkeys(reading.document for reading in readings))
    index = {document: position for position, document in enumerate(documents)}
    document_N = np.repeat(
        np.array([index[reading.document] for reading in readings], np.int64),
        [len(reading.truth_N) for reading in readings],
    )
    nothing = [np.zeros(0)]
    truth_N = np.concatenate([reading.truth_N for reading in readings] or nothing)
    predicted_N = np.concatenate([reading.predicted_N for reading in readings] or nothing)
    parsed_N = ~np.isnan(predicted_N)
    return Rows(
        documents,
        document_N[parsed_N],
        truth_N[parsed_N],
        predicted_N[parsed_N],
        int(np.count_nonzero(~parsed_N)),
    )
