"""From sums over sequences to means, the shares recovered, and their intervals.

Text of one sequence is not independent, so whole sequences are resampled; there are enough of them for percentiles. All
variants of a resample are of the same sequences: intervals of shares are narrower than those of their parts.

Shape suffixes: S sequences, R resamples, C columns of sums.
"""

from collections.abc import Callable, Mapping
from functools import partial
from operator import itemgetter

import numpy as np
import numpy.typing as npt

from thresher.contracts.manifests import Interval, SpliceMetrics
from thresher.evaluation.splice.measure import VARIANTS, SequenceSums

FloatArray = npt.NDArray[np.float64]
CONFIDENCE = 0.95
MIN_DEFINED_SHARE = 0.5


def splice_metrics(sums: SequenceSums, num_resamples: int, seed: int) -> SpliceMetrics:
    """Every mean and share with its interval, by resampling sequences."""
    names = list(sums.sums_S)
    sums_SC = np.stack([sums.sums_S[name].numpy() for name in names], axis=1)
    sums_SC = np.concatenate([sums_SC, np.full((len(sums_SC), 1), sums.num_predictions)], axis=1)
    weights_RS = np.random.default_rng(seed).multinomial(
        len(sums_SC), np.full(len(sums_SC), 1 / len(sums_SC)), size=num_resamples
    )
    resampled_RC = weights_RS @ sums_SC

    def interval(statistic: Callable[[dict[str, FloatArray]], FloatArray]) -> Interval:
        def of_sums(sums_RC: FloatArray) -> FloatArray:
            means_RC = sums_RC[:, :-1] / sums_RC[:, -1:]
            return statistic(dict(zip(names, means_RC.T, strict=True)))

        value = float(of_sums(sums_SC.sum(axis=0, keepdims=True))[0])
        return _interval(value, of_sums(resampled_RC if len(sums_SC) > 1 else resampled_RC[:0]))

    means = {name: interval(itemgetter(name)) for name in names}
    shares = {}
    for ablation in VARIANTS[1:]:
        shares[f"ce_recovered_from_{ablation}"] = interval(partial(_ce_recovered, ablation))
        shares[f"kl_recovered_from_{ablation}"] = interval(partial(_kl_recovered, ablation))
    return SpliceMetrics(**means, **shares, fvu=sums.rows.fvu, l0=sums.rows.l0)


def _interval(value: float, resampled_R: FloatArray) -> Interval:
    """Percentiles of the resamples; nothing where there are none, or where the value or half of them are undefined."""
    if np.isnan(value):
        return Interval(value=None, low=None, high=None)
    defined_R = resampled_R[~np.isnan(resampled_R)]
    if len(defined_R) <= MIN_DEFINED_SHARE * len(resampled_R):
        return Interval(value=value, low=None, high=None)
    low, high = np.quantile(defined_R, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(value=value, low=float(low), high=float(high))


def _ce_recovered(ablation: str, mean: Mapping[str, FloatArray]) -> FloatArray:
    ablated_R = mean[f"ce_{ablation}"]
    return _share(ablated_R - mean["ce_spliced"], ablated_R - mean["ce_clean"])


def _kl_recovered(ablation: str, mean: Mapping[str, FloatArray]) -> FloatArray:
    ablated_R = mean[f"kl_{ablation}"]
    return _share(ablated_R - mean["kl_spliced"], ablated_R)


def _share(won_R: FloatArray, lost_R: FloatArray) -> FloatArray:
    """NaN where the ablation does no harm: there is nothing to recover."""
    return np.where(lost_R > 0, won_R / np.where(lost_R > 0, lost_R, 1), np.nan)
