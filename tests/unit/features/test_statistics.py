"""Streaming statistics equal those of the dense array."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from thresher.activations.codes_reader import CodesShard
from thresher.features.statistics import HISTOGRAM_EDGES, NUM_BINS, LatentStatistics

NUM_LATENTS = 6


def shard_of(x_RF: np.ndarray) -> CodesShard:
    """The codes of dense rows, one sequence of all of them."""
    rows, latents = np.nonzero(x_RF)
    return CodesShard(
        first_sequence=0,
        num_sequences=1,
        sequence_length=len(x_RF),
        row_offsets=np.searchsorted(rows, np.arange(len(x_RF) + 1)),
        latents=latents.astype(np.int32),
        values=x_RF[rows, latents].astype(np.float32),
        token_ids=np.zeros(len(x_RF), np.int32),
        documents=np.zeros(len(x_RF), np.int32),
        doc_ids=["d"],
    )


def counted(x_RF: np.ndarray) -> LatentStatistics:
    statistics = LatentStatistics(x_RF.shape[1])
    statistics.add(shard_of(x_RF), np.ones(len(x_RF), bool))
    return statistics


@settings(deadline=None)  # the first call compiles
@given(seed=st.integers(0, 2**32 - 1), num_rows=st.integers(1, 60), cut=st.integers(0, 60))
def test_equal_to_the_dense_array_however_it_is_cut(seed: int, num_rows: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    x_RF = np.exp(rng.normal(0, 3, (num_rows, NUM_LATENTS))).astype(np.float32)
    x_RF[rng.random(x_RF.shape) < 0.7] = 0
    statistics = LatentStatistics(NUM_LATENTS)
    is_counted_R = rng.random(num_rows) < 0.8
    is_counted_R[0] = True
    for part in (slice(None, cut), slice(cut, None)):
        statistics.add(shard_of(x_RF[part]), is_counted_R[part])
    x_RF = x_RF[is_counted_R]
    for latent, x_R in enumerate(x_RF.T):
        active = x_R[x_R > 0]
        assert statistics.num_active[latent] == len(active)
        assert statistics.density[latent] == len(active) / len(x_RF)
        assert statistics.max[latent] == max(active, default=0)
        np.testing.assert_allclose(statistics.mean[latent], active.mean() if len(active) else 0, rtol=1e-6)
        counts, _ = np.histogram(active.clip(*HISTOGRAM_EDGES[[0, -1]]), bins=HISTOGRAM_EDGES)
        np.testing.assert_array_equal(statistics.histogram_FB[latent], counts)


def test_values_beyond_the_edges_fall_into_the_outermost_bins() -> None:
    statistics = counted(np.array([[1e-9], [1e9], [HISTOGRAM_EDGES[-1]]]))
    assert statistics.histogram_FB[0, 0] == 1
    assert statistics.histogram_FB[0, NUM_BINS - 1] == 2


def test_a_latent_that_never_fires_has_zeros_not_nan() -> None:
    statistics = counted(np.array([[0, 2.0], [0, 0], [0, 0], [0, 0]]))
    assert (statistics.density[0], statistics.mean[0], statistics.max[0]) == (0, 0, 0)
