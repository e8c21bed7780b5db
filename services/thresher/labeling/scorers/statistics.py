"""Correlation and balanced accuracy, with bootstrap intervals over documents.

Tokens and contexts of one document are not independent, so documents are resampled, whole, with replacement (the
cluster bootstrap; Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
Both statistics are functions of sums over documents: a resample weighs the documents' sums, and never touches rows.

Shapes: N observations, D documents, S sums, B resamples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.labeling.scorers.spec import BootstrapSpec

FloatArray = npt.NDArray[np.float64]
MIN_DEFINED_SHARE = 0.5
RELATIVE_VARIANCE_FLOOR = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A statistic and its interval; None where it is undefined (no variance, or a class without observations)."""

    value: float | None
    ci_low: float | None
    ci_high: float | None


def interval_method(bootstrap: BootstrapSpec, seed: int) -> str:
    """How an interval was made, for the reader of a score."""
    kind = f"{bootstrap.confidence:g} percentile bootstrap over documents"
    return f"{kind}, {bootstrap.num_resamples} resamples, seed {seed}"


def pearson(
    x_N: FloatArray, y_N: FloatArray, documents: Sequence[str], bootstrap: BootstrapSpec, seed: int
) -> Estimate:
    """Pearson's correlation over all observations; undefined where either side is constant."""
    if len(x_N) == 0:
        return Estimate(None, None, None)
    # Centred first: sums of squares of raw values would lose digits to cancellation.
    x_N, y_N = x_N - x_N.mean(), y_N - y_N.mean()
    sums_NS = np.stack([np.ones_like(x_N), x_N, y_N, x_N * x_N, y_N * y_N, x_N * y_N], axis=1)
    return estimate(_pearson_of_sums, sums_NS, documents, bootstrap, seed)


def balanced_accuracy(
    is_active_N: npt.NDArray[np.bool_],
    said_active_N: npt.NDArray[np.bool_],
    documents: Sequence[str],
    bootstrap: BootstrapSpec,
    seed: int,
) -> Estimate:
    """Mean of the share of active contexts called so and of inactive ones called so; chance is 0.5."""
    right_N = is_active_N == said_active_N
    sums_NS = np.stack(
        [is_active_N, ~is_active_N, is_active_N & right_N, ~is_active_N & right_N], axis=1
    ).astype(float)
    return estimate(_balanced_accuracy_of_sums, sums_NS, documents, bootstrap, seed)


def estimate(
    statistic: Callable[[FloatArray], FloatArray],
    sums_NS: FloatArray,
    documents: Sequence[str],
    bootstrap: BootstrapSpec,
    seed: int,
) -> Estimate:
    """A statistic of sums, with its interval: `statistic` takes sums_BS and gives a number a row, NaN if undefined."""
    names, document_N = np.unique(np.asarray(documents), return_inverse=True)
    sums_DS = np.zeros((len(names), sums_NS.shape[1]))
    np.add.at(sums_DS, document_N, sums_NS)
    value = float(statistic(sums_DS.sum(axis=0, keepdims=True))[0])
    if np.isnan(value):
        return Estimate(None, None, None)
    weights_BD = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=bootstrap.num_resamples
    )
    resampled_B = statistic(weights_BD @ sums_DS)
    defined_B = resampled_B[~np.isnan(resampled_B)]
    if len(names) < 2 or len(defined_B) < MIN_DEFINED_SHARE * bootstrap.num_resamples:
        return Estimate(value, None, None)
    tail = (1 - bootstrap.confidence) / 2
    low, high = np.quantile(defined_B, [tail, 1 - tail])
    return Estimate(value, float(low), float(high))


def _pearson_of_sums(sums_BS: FloatArray) -> FloatArray:
    n_B, x_B, y_B, xx_B, yy_B, xy_B = sums_BS.T
    x_variance_B, y_variance_B = xx_B - x_B**2 / n_B, yy_B - y_B**2 / n_B
    defined_B = (x_variance_B > RELATIVE_VARIANCE_FLOOR * xx_B) & (
        y_variance_B > RELATIVE_VARIANCE_FLOOR * yy_B
    )
    scale_B = np.sqrt(np.where(defined_B, x_variance_B * y_variance_B, np.nan))
    pearson_B: FloatArray = np.clip((xy_B - x_B * y_B / n_B) / scale_B, -1.0, 1.0)
    return pearson_B


def _balanced_accuracy_of_sums(sums_BS: FloatArray) -> FloatArray:
    active_B, inactive_B, active_right_B, inactive_right_B = sums_BS.T
    hit_rate_B = active_right_B / np.where(active_B > 0, active_B, np.nan)
    rejection_rate_B = inactive_right_B / np.where(inactive_B > 0, inactive_B, np.nan)
    balanced_B: FloatArray = (hit_rate_B + rejection_rate_B) / 2
    return balanced_B
