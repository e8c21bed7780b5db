"""Norm distributions against the norms themselves."""

import numpy as np
import pytest
import torch

from thresher.activations.row_statistics import RowStatistics
from thresher.evaluation.norms import norm_distribution

BIN = 2**0.25


def counts_of(norms: np.ndarray) -> dict[int, int]:
    """As a harvest counts them."""
    statistics, zeros = RowStatistics(), np.zeros(len(norms), np.int64)
    statistics.add(torch.from_numpy(norms), torch.zeros(len(norms)), zeros, zeros)
    return statistics.norm_counts


def test_quantiles_lie_within_a_bin_of_the_true_ones_and_outliers_are_counted() -> None:
    norms = np.random.default_rng(0).lognormal(2, 0.5, 20_000).astype(np.float32)
    norms[:100] = 1000
    found = norm_distribution(counts_of(norms), num_rows=20_007)
    assert found is not None
    for level, value in found.quantiles.items():
        assert np.quantile(norms, float(level)) / BIN < value < np.quantile(norms, float(level)) * BIN
    assert found.quantiles["0.5"] == pytest.approx(np.median(norms), rel=0.02)
    assert found.outlier_share == pytest.approx((norms > 8 * np.median(norms)).mean(), abs=1e-4)
    assert (found.num_rows, found.num_zero_rows) == (20_000, 7)


def test_the_histogram_holds_every_row_in_few_bins_that_join() -> None:
    norms = np.geomspace(1e-3, 1e4, 5000).astype(np.float32)
    found = norm_distribution(counts_of(norms), num_rows=5000)
    assert found is not None
    assert len(found.histogram) <= 16
    assert sum(item.num_rows for item in found.histogram) == 5000
    for one, following in zip(found.histogram, found.histogram[1:], strict=False):
        assert one.high == following.low
    for item in found.histogram:
        assert item.num_rows == ((norms >= item.low) & (norms < item.high)).sum()


def test_no_counts_no_distribution() -> None:
    assert norm_distribution({}, num_rows=3) is None
