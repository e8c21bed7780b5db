"""How far scores of true descriptions are above those of false ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

import numpy as np
from scipy.special import stdtrit

from thresher.contracts.manifests import Interval, Separation
from thresher.labeling.scorers.intervals import Estimate, estimate
from thresher.labeling.scorers.reading import Reading
from thresher.labeling.scorers.spec import BootstrapSpec
from thresher.labeling.scorers.statistics import accuracy, auroc

LOWEST = -1e9
"""In place of a score that is undefined: a description that predicts nothing is below any that does."""


@dataclass(frozen=True)
class Tried:
    """Scores of one planted feature's descriptions; None where undefined."""

    true: float | None
    false: tuple[float | None, ...]
    lift: float | None


def separation(tried: Sequence[Tried], bootstrap: BootstrapSpec, seed: int) -> Separation:
    """Over several planted features; these are resampled, for the question is about features not tried yet."""
    return Separation(
        num_rules=len(tried),
        auroc=_interval(estimate(auroc(_ranks(tried)), bootstrap, seed)),
        win_rate=_interval(estimate(accuracy(_wins(tried)), bootstrap, seed)),
        lift=_mean([item.lift for item in tried if item.lift is not None], bootstrap.confidence),
    )


def _ranks(tried: Sequence[Tried]) -> list[Reading]:
    """All true descriptions against all false ones."""
    return [
        Reading(
            str(number),
            np.array([1.0] + [0.0] * len(item.false)),
            np.array([_number(value) for value in (item.true, *item.false)]),
        )
        for number, item in enumerate(tried)
    ]


def _wins(tried: Sequence[Tried]) -> list[Reading]:
    """Each true description against the false ones of the same feature; a tie is no win."""
    return [
        Reading(
            str(number),
            np.ones(len(item.false)),
            np.array([float(_number(item.true) > _number(value)) for value in item.false]),
        )
        for number, item in enumerate(tried)
    ]


def _number(value: float | None) -> float:
    return LOWEST if value is None else value


def _mean(values: Sequence[float], confidence: float) -> Interval:
    if len(values) < 2:
        return Interval(value=values[0] if values else None, low=None, high=None)
    margin = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * stdev(values) / sqrt(len(values))
    return Interval(value=fmean(values), low=fmean(values) - margin, high=fmean(values) + margin)


def _interval(found: Estimate) -> Interval:
    return Interval(value=found.value, low=found.ci_low, high=found.ci_high)
