"""Intervals of statistics of sums over sequences.

The tokens of one sequence are not independent, so sequences are resampled, whole, with replacement (the cluster
bootstrap; Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8): a resample weighs the
sequences' sums. An interval is made of percentiles, which keep the bounds and the skew of a share.

Shape suffixes: S sequences, R resamples, C columns of sums.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from thresher.contracts.manifests import Interval

FloatArray = npt.NDArray[np.float64]
CONFIDENCE = 0.95
MIN_DEFINED_SHARE = 0.5
"""Of the resamples: with fewer that define the statistic there is no interval."""


class SequenceBootstrap:
    """One draw of resamples, for any number of statistics of the same sums."""

    def __init__(self, sums_SC: FloatArray, num_resamples: int, seed: int) -> None:
        size = len(sums_SC)
        weights_RS = np.random.default_rng(seed).multinomial(
            size, np.full(size, 1 / size), size=num_resamples
        )
        self._has_spread = size > 1
        self._plain_1C, self._resampled_RC = sums_SC.sum(axis=0, keepdims=True), weights_RS @ sums_SC

    def interval(self, statistic: Callable[[FloatArray], FloatArray]) -> Interval:
        """`statistic` takes sums_RC and gives a number a row, NaN where it is undefined."""
        value = float(statistic(self._plain_1C)[0])
        if np.isnan(value):
            return Interval(value=None, low=None, high=None)
        found_R = statistic(self._resampled_RC)
        defined_R = found_R[~np.isnan(found_R)]
        if not self._has_spread or len(defined_R) < MIN_DEFINED_SHARE * len(found_R):
            return Interval(value=value, low=None, high=None)
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(defined_R, [tail, 1 - tail])
        return Interval(value=value, low=float(low), high=float(high))
