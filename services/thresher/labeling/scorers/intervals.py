"""A score with its interval, and what it adds over shuffled labels with its own.

Tokens and texts of one document are not independent, so documents are resampled, whole, with replacement (the cluster
bootstrap; Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). A score has 5 to 30
documents: there, percentiles of the resamples cover too seldom (73 to 86 % in place of 95 % for a correlation over
eight). So the resamples give the standard error alone, widened by sqrt(D / (D - 1)); the interval is Student's, on the
scale of the statistic (Fisher's for a correlation), with one degree of freedom less than there are documents in which
the feature fires. Statistics of right and wrong are guarded against the certainty of few documents that all agree, and
their interval is a normal one around the guarded statistic: see statistics.py.

Shapes: D documents with the guards after them, B resamples, O other labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtri, stdtrit

from thresher.labeling.scorers.observations import Observations, Scale
from thresher.labeling.scorers.reading import FloatArray
from thresher.labeling.scorers.spec import BootstrapSpec

MIN_DEFINED_SHARE = 0.5
MIN_DOCUMENTS = 2


@dataclass(frozen=True)
class Estimate:
    """A statistic and its interval; None where it is undefined (no variance, or a class without observations)."""

    value: float | None
    ci_low: float | None
    ci_high: float | None

    @property
    def width(self) -> float | None:
        return None if self.ci_low is None or self.ci_high is None else self.ci_high - self.ci_low


UNDEFINED = Estimate(None, None, None)


def interval_method(bootstrap: BootstrapSpec, seed: int, num_looks: int = 1) -> str:
    """How an interval was made, for the reader of a score."""
    looks = f", simultaneous over {num_looks} looks (Bonferroni)" if num_looks > 1 else ""
    return (
        f"{bootstrap.confidence:g} Student interval, bootstrap standard error over documents{looks}, "
        f"{bootstrap.num_resamples} resamples, seed {seed}"
    )


def estimate(observed: Observations, bootstrap: BootstrapSpec, seed: int, num_looks: int = 1) -> Estimate:
    """The statistic over all documents. With several looks, all their intervals cover at once, so the last does."""
    value = plain_value(observed)
    weights_BD = _weights(len(observed.documents), observed.num_guards, bootstrap.num_resamples, seed)
    return _interval(value, observed.value(weights_BD), observed.scale, observed, bootstrap, num_looks)


def lift(
    observed: Observations,
    baseline: Sequence[Observations],
    bootstrap: BootstrapSpec,
    seed: int,
    num_looks: int = 1,
) -> Estimate:
    """The statistic less the mean of the same for shuffled labels on the same trials: paired, document by document.

    Shuffled labels whose statistic is undefined do not count; without any that is defined there is no lift.
    A guard that is right for the label is wrong for the baseline (Bonett and Price 2012, "Adjusted Wald Confidence
    Interval for a Difference of Binomial Proportions Based on Paired Data").
    """
    others = [item for item in baseline if not np.isnan(plain_value(item))]
    value = plain_value(observed)
    if not others or np.isnan(value):
        return UNDEFINED
    assert all(item.documents == observed.documents for item in others), "the same trials"
    num_documents, num_guards = len(observed.documents), observed.num_guards
    weights_BD = _weights(num_documents, num_guards, bootstrap.num_resamples, seed)
    opposite_BD = np.concatenate(
        [weights_BD[:, :num_documents], weights_BD[:, num_documents:][:, ::-1]], axis=1
    )
    others_OB = np.stack([item.value(opposite_BD) for item in others])
    resampled_B = observed.value(weights_BD) - _mean_of_defined(others_OB)
    difference = value - float(np.mean([plain_value(item) for item in others]))
    span = observed.scale.highest - observed.scale.lowest
    scale = Scale(-span, span, lambda values: values, lambda values: values)
    return _interval(difference, resampled_B, scale, observed, bootstrap, num_looks)


def _mean_of_defined(values_OB: FloatArray) -> FloatArray:
    """Over the labels whose statistic a resample defines; NaN where it defines none."""
    defined_OB = ~np.isnan(values_OB)
    num_defined_B = defined_OB.sum(axis=0)
    sum_B = np.where(defined_OB, values_OB, 0.0).sum(axis=0)
    mean_B: FloatArray = sum_B / np.where(num_defined_B > 0, num_defined_B, np.nan)
    return mean_B


def plain_value(observed: Observations) -> float:
    weights_1D = np.concatenate([np.ones(len(observed.documents)), np.zeros(observed.num_guards)])[None]
    return float(observed.value(weights_1D)[0])


@lru_cache(maxsize=64)
def _weights(num_documents: int, num_guards: int, num_resamples: int, seed: int) -> FloatArray:
    size = max(num_documents + num_guards, 1)
    drawn_BD = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=num_resamples)
    return drawn_BD[:, : num_documents + num_guards].astype(np.float64)


def _interval(
    value: float,
    resampled_B: FloatArray,
    scale: Scale,
    observed: Observations,
    bootstrap: BootstrapSpec,
    num_looks: int,
) -> Estimate:
    if np.isnan(value):
        return UNDEFINED
    defined_B = scale.to(resampled_B[~np.isnan(resampled_B)])
    size = len(observed.documents) + observed.num_guards
    if (
        len(observed.documents) < MIN_DOCUMENTS
        or len(defined_B) < MIN_DEFINED_SHARE * bootstrap.num_resamples
    ):
        return Estimate(value, None, None)
    tail = (1 - bootstrap.confidence) / 2 / num_looks
    if observed.num_guards:  # as their sources: a normal interval around the guarded statistic
        centre, margin = float(defined_B.mean()), float(ndtri(1 - tail) * defined_B.std())
    else:
        centre = float(scale.to(np.array(value)))
        student = stdtrit(max(observed.num_informative - 1, 1), 1 - tail)
        margin = float(student * defined_B.std() * np.sqrt(size / (size - 1)))
    low, high = scale.back(np.array([centre - margin, centre + margin]))
    return Estimate(
        value, float(max(scale.lowest, min(low, value))), float(min(scale.highest, max(high, value)))
    )
