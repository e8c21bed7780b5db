"""From sums over sequences to means, the shares recovered, and their intervals.

All variants of a resample are of the same sequences: intervals of shares are narrower than those of their parts.

Shape suffixes: S sequences, R resamples, C columns of sums.
"""

from collections.abc import Callable, Mapping
from functools import partial
from operator import itemgetter

import numpy as np

from thresher.contracts.manifests import Interval, SpliceMetrics
from thresher.evaluation.splice.bootstrap import FloatArray, SequenceBootstrap
from thresher.evaluation.splice.measure import VARIANTS, SequenceSums


def splice_metrics(sums: SequenceSums, num_resamples: int, seed: int) -> SpliceMetrics:
    """Every mean and share with its interval, by resampling sequences."""
    names = list(sums.sums_S)
    sums_SC = np.stack([sums.sums_S[name].numpy() for name in names], axis=1)
    sums_SC = np.concatenate([sums_SC, np.full((len(sums_SC), 1), sums.num_predictions)], axis=1)
    bootstrap = SequenceBootstrap(sums_SC, num_resamples, seed)

    def interval(statistic: Callable[[dict[str, FloatArray]], FloatArray]) -> Interval:
        def of_sums(sums_RC: FloatArray) -> FloatArray:
            means_RC = sums_RC[:, :-1] / sums_RC[:, -1:]
            return statistic(dict(zip(names, means_RC.T, strict=True)))

        return bootstrap.interval(of_sums)

    means = {name: interval(itemgetter(name)) for name in names}
    shares = {}
    for ablation in VARIANTS[1:]:
        shares[f"ce_recovered_from_{ablation}"] = interval(partial(_ce_recovered, ablation))
        shares[f"kl_recovered_from_{ablation}"] = interval(partial(_kl_recovered, ablation))
    return SpliceMetrics(**means, **shares, fvu=sums.rows.fvu, l0=sums.rows.l0)


def _ce_recovered(ablation: str, mean: Mapping[str, FloatArray]) -> FloatArray:
    ablated_R = mean[f"ce_{ablation}"]
    return _share(ablated_R - mean["ce_spliced"], ablated_R - mean["ce_clean"])


def _kl_recovered(ablation: str, mean: Mapping[str, FloatArray]) -> FloatArray:
    ablated_R = mean[f"kl_{ablation}"]
    return _share(ablated_R - mean["kl_spliced"], ablated_R)


def _share(won_R: FloatArray, lost_R: FloatArray) -> FloatArray:
    """NaN where the ablation does no harm: there is nothing to recover."""
    return np.where(lost_R > 0, won_R / np.where(lost_R > 0, lost_R, 1), np.nan)
