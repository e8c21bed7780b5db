"""Sums by the norm of rows: a few rows far longer than the rest, attention sinks, may hold nearly all variance.

Shape suffixes: B rows, E width of what is reconstructed, N norms, Q edges between bands.
"""

from functools import reduce

import torch

from thresher.contracts.manifests import NormBand
from thresher.latents.moments import PairMoments

OUTLIER_FACTOR = 8.0
"""A row is an outlier above so many times the median norm."""
NUM_DECILES = 10


class NormBands:
    """Moments of rows by their norm: its deciles, and the outliers apart.

    Args:
        norms_N: of some rows. Their deciles and 8 x their median are the edges, so that memory is that of eleven
            bands however many rows follow; a band then holds about a tenth of all rows, and says how many.
        width: of a row.
    """

    def __init__(self, norms_N: torch.Tensor, width: int) -> None:
        levels = torch.arange(1, NUM_DECILES, dtype=torch.float64) / NUM_DECILES
        norms_N = norms_N.double()
        self._outlier_norm = OUTLIER_FACTOR * float(norms_N.quantile(0.5))
        edges = torch.cat([norms_N.quantile(levels), torch.tensor([self._outlier_norm], dtype=torch.float64)])
        self._edges_Q = edges.sort().values
        self._moments = [PairMoments.of_none(width) for _ in range(len(edges) + 1)]

    def add(self, norms_B: torch.Tensor, y_BE: torch.Tensor, y_hat_BE: torch.Tensor) -> None:
        """Add rows; everything float64, on the CPU."""
        band_B = torch.bucketize(norms_B, self._edges_Q)
        for band, moments in enumerate(self._moments):
            chosen_B = band_B == band
            if chosen_B.any():
                self._moments[band] = moments.merged(PairMoments.of(y_BE[chosen_B], y_hat_BE[chosen_B]))

    def all_rows(self) -> PairMoments:
        return reduce(PairMoments.merged, self._moments)

    def without_outliers(self) -> PairMoments:
        """Of rows whose norm is at most 8 x the median."""
        last = int(torch.searchsorted(self._edges_Q, self._outlier_norm))
        return reduce(PairMoments.merged, self._moments[: last + 1])

    def bands(self) -> list[NormBand]:
        """Bands that hold rows, by ascending norm."""
        total = self.all_rows()
        return [
            _band(above, moments, total)
            for above, moments in zip([0.0, *self._edges_Q.tolist()], self._moments, strict=True)
            if moments.num_rows
        ]


def _band(above: float, moments: PairMoments, total: PairMoments) -> NormBand:
    variance = moments.deviation_from(total.mean_E)
    return NormBand(
        above_norm=above,
        num_rows=moments.num_rows,
        variance_share=variance / total.deviation,
        error_share=moments.error / total.error if total.error else 0.0,
        fvu=moments.error / variance if variance > 0 else None,
    )
