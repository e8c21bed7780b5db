"""Percentile intervals over resampled sequences.

Shape suffixes: S sequences, R resamples, C columns.
"""

import numpy as np
import pytest

from thresher.contracts.manifests import Interval
from thresher.evaluation.splice.bootstrap import FloatArray, SequenceBootstrap


def mean(sums_RC: FloatArray) -> FloatArray:
    return sums_RC[:, 0] / sums_RC[:, 1]


def sums_of(values_S: FloatArray) -> FloatArray:
    return np.stack([values_S, np.ones_like(values_S)], axis=1)


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(400):
        found = SequenceBootstrap(sums_of(rng.exponential(2.0, 80)), 400, seed).interval(mean)
        covered += found.low <= 2.0 <= found.high
    assert 0.9 <= covered / 400 <= 0.98


def test_one_sequence_has_no_interval() -> None:
    found = SequenceBootstrap(sums_of(np.array([3.0])), 100, 0).interval(mean)
    assert found == Interval(value=3.0, low=None, high=None)


@pytest.mark.parametrize(("threshold", "has_interval"), [(1.5, True), (3.5, False)])
def test_resamples_without_the_statistic_do_not_count(threshold: float, has_interval: bool) -> None:
    """A sum of 4 sequences, of which one holds everything, is undefined below a threshold."""

    def thresholded(sums_RC: FloatArray) -> FloatArray:
        plain = len(sums_RC) == 1
        return np.where(plain | (sums_RC[:, 0] > threshold), sums_RC[:, 0], np.nan)

    found = SequenceBootstrap(sums_of(np.array([0.0, 1.0, 1.0, 1.0])), 2000, 0).interval(thresholded)
    assert found.value == 3.0
    assert (found.low is not None) == has_interval
    if has_interval:
        assert found.low >= 2.0, "the others are left out"


def test_an_undefined_statistic_has_no_value() -> None:
    bootstrap = SequenceBootstrap(sums_of(np.array([1.0, 2.0])), 100, 0)
    assert bootstrap.interval(lambda sums_RC: np.full(len(sums_RC), np.nan)) == Interval(
        value=None, low=None, high=None
    )
