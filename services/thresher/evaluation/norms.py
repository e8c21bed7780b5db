"""The distribution of row norms, from counts in quarters of an octave."""

import math
from collections.abc import Mapping

import numpy as np

from thresher.contracts.manifests import Record

BINS_PER_OCTAVE = 4
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
OUTLIER_FACTOR = 8.0
"""A row is called an outlier above so many medians."""
MAX_HISTOGRAM_BINS = 16


class HistogramBin(Record):
    low: float
    """Norms in [low, high)."""
    high: float
    num_rows: int


class NormDistribution(Record):
    """Of rows before they were encoded. Quantiles are interpolated in bins a quarter of an octave (19 %) wide."""

    num_rows: int
    """Rows of a norm above 0."""
    num_zero_rows: int
    quantiles: dict[str, float]
    outlier_share: float
    """Share of rows whose norm is above 8 times the median."""
    histogram: list[HistogramBin]


def norm_distribution(counts: Mapping[int, int], num_rows: int) -> NormDistribution | None:
    """Summarise counts; None where a harvest has none.

    Args:
        counts: key b counts norms in [2^(b/4), 2^((b+1)/4)).
        num_rows: of the harvest, those of norm 0 included.
    """
    if not counts:
        return None
    total = sum(counts.values())
    median = _quantile(counts, 0.5)
    return NormDistribution(
        num_rows=total,
        num_zero_rows=num_rows - total,
        quantiles={f"{level:g}": _quantile(counts, level) for level in QUANTILES},
        outlier_share=1 - _share_below(counts, OUTLIER_FACTOR * median),
        histogram=_histogram(counts),
    )


def _quantile(counts: Mapping[int, int], level: float) -> float:
    bins = sorted(counts)
    left = level * sum(counts.values())
    for index in bins:
        if left <= counts[index]:
            return float(2 ** ((index + left / counts[index]) / BINS_PER_OCTAVE))
        left -= counts[index]
    return float(2 ** ((bins[-1] + 1) / BINS_PER_OCTAVE))


def _share_below(counts: Mapping[int, int], norm: float) -> float:
    at = BINS_PER_OCTAVE * math.log2(norm)
    below = sum(count * float(np.clip(at - index, 0, 1)) for index, count in counts.items())
    return below / sum(counts.values())


def _histogram(counts: Mapping[int, int]) -> list[HistogramBin]:
    """Bins of one width that doubles until they are few."""
    width = 1
    while max(counts) // width - min(counts) // width >= MAX_HISTOGRAM_BINS:
        width *= 2
    merged: dict[int, int] = {}
    for index, count in counts.items():
        merged[index // width] = merged.get(index // width, 0) + count
    return [
        HistogramBin(
            low=2 ** (index * width / BINS_PER_OCTAVE),
            high=2 ** ((index + 1) * width / BINS_PER_OCTAVE),
            num_rows=merged.get(index, 0),
        )
        for index in range(min(merged), max(merged) + 1)
    ]
