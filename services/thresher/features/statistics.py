"""Streaming statistics of each latent.

Shapes: F latents, B histogram bins, R rows.
"""

import numpy as np
import numpy.typing as npt

from thresher.activations.codes_reader import CodesShard
from thresher.features.loops import count_codes

BINS_AN_OCTAVE = 4
OCTAVES = 14
HISTOGRAM_EDGES = 2.0 ** (np.arange(-OCTAVES * BINS_AN_OCTAVE, OCTAVES * BINS_AN_OCTAVE + 1) / BINS_AN_OCTAVE)
"""[B + 1] log-spaced edges that all latents share; values beyond them are counted in the outermost bins."""
NUM_BINS = len(HISTOGRAM_EDGES) - 1


class LatentStatistics:
    """Counts, sums, maxima and histograms over the codes seen. Memory grows with latents, not with tokens."""

    def __init__(self, num_latents: int) -> None:
        self.num_latents = num_latents
        self.num_rows = 0
        self.num_active = np.zeros(num_latents, np.int64)
        self.max = np.zeros(num_latents, np.float32)
        self.histogram_FB = np.zeros((num_latents, NUM_BINS), np.int64)
        self._sum = np.zeros(num_latents, np.float64)

    def add(self, shard: CodesShard, counted_R: npt.NDArray[np.bool_]) -> None:
        """Count the codes of the rows that `counted_R` marks."""
        self.num_rows += int(counted_R.sum())
        count_codes(
            shard.row_offsets,
            shard.latents,
            shard.values,
            counted_R,
            HISTOGRAM_EDGES,
            self.num_active,
            self._sum,
            self.max,
            self.histogram_FB,
        )

    @property
    def density(self) -> npt.NDArray[np.float64]:
        """[F]: share of rows on which the latent is active."""
        return self.num_active / max(self.num_rows, 1)

    @property
    def mean(self) -> npt.NDArray[np.float32]:
        """[F]: over the rows on which the latent is active; 0 if there are none."""
        mean: npt.NDArray[np.float64] = self._sum / np.maximum(self.num_active, 1)
        return mean.astype(np.float32)
