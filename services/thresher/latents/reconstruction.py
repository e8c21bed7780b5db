"""Quality of a dictionary over a stream of rows, without keeping them (docs/metrics.md).

Shape suffixes: B rows, E width of what is reconstructed, F latents, N values.
"""

import math
from collections import Counter
from collections.abc import Mapping

import torch

from thresher.contracts.manifests import ReconstructionMetrics
from thresher.latents.decoder_cosines import largest_cosines
from thresher.latents.kernels import SparseCodes
from thresher.latents.moments import PairMoments
from thresher.latents.norm_bands import NormBands

QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
DENSE_ABOVE = 0.1
"""A latent is dense if it is active on a larger share of the rows."""
DENSITY_BINS_PER_DECADE = 4
COSINE_BINS = 20


class ReconstructionAccumulator:
    """Takes batches of y, what a dictionary reconstructs: the input of an autoencoder, the output of a transcoder.

    All sums are float64. Memory is that of a batch, of a number a latent and of eleven pairs of mean rows.

    Args:
        width: of y.
        num_latents: of the dictionary.
        site_widths: columns of each site, in order, where y is several sites side by side.
    """

    def __init__(self, width: int, num_latents: int, site_widths: Mapping[str, int] | None = None) -> None:
        assert sum((site_widths or {"y": width}).values()) == width, "sites make up a row"
        self._width, self._site_widths = width, dict(site_widths or {})
        self._bands: NormBands | None = None
        self._active_F = torch.zeros(num_latents, dtype=torch.int64)
        self._l0_counts = torch.zeros(num_latents + 1, dtype=torch.int64)
        self._ratio = _Mean()
        self._cosine = _Mean()

    def add(self, y_BE: torch.Tensor, y_hat_BE: torch.Tensor, codes: SparseCodes) -> None:
        """Add a batch of any float type. The norms of the first batch decide where the bands of norms lie."""
        if not len(y_BE):
            return
        y_BE, y_hat_BE = y_BE.cpu().double(), y_hat_BE.cpu().double()
        norm_B, norm_hat_B = y_BE.norm(dim=1), y_hat_BE.norm(dim=1)
        if self._bands is None:
            self._bands = NormBands(norm_B, self._width)
        self._bands.add(norm_B, y_BE, y_hat_BE)
        has_norm_B = norm_B > 0
        self._ratio.add((norm_hat_B / norm_B)[has_norm_B])
        has_angle_B = has_norm_B & (norm_hat_B > 0)
        self._cosine.add(((y_BE * y_hat_BE).sum(dim=1) / (norm_B * norm_hat_B))[has_angle_B])
        self._active_F += torch.bincount(codes.latents.cpu(), minlength=len(self._active_F))
        self._l0_counts += torch.bincount(codes.row_offsets.cpu().diff(), minlength=len(self._l0_counts))

    def metrics(self, W_dec_FE: torch.Tensor | None = None) -> ReconstructionMetrics:
        """Metrics of everything added so far; with the decoder's rows, also how near they lie to each other."""
        assert self._bands is not None, "no rows were added"
        rows, inside = self._bands.all_rows(), self._bands.without_outliers()
        assert rows.deviation > 0, "rows do not vary"
        fvu = rows.error / rows.deviation
        density_F = self._active_F.double() / rows.num_rows
        cosine_F = torch.zeros(0) if W_dec_FE is None else largest_cosines(W_dec_FE).cpu().double()
        return ReconstructionMetrics(
            explained_variance=1 - fvu,
            fvu=fvu,
            l0=int(self._active_F.sum()) / rows.num_rows,
            dead_fraction=float((self._active_F == 0).double().mean()),
            num_rows=rows.num_rows,
            fvu_by_site=self._fvu_by_site(rows),
            fvu_without_outliers=inside.error / inside.deviation if inside.deviation > 0 else None,
            outlier_share=1 - inside.num_rows / rows.num_rows,
            outlier_variance_share=1 - inside.deviation_from(rows.mean_E) / rows.deviation,
            norm_bands=self._bands.bands(),
            l0_quantiles={f"{level:g}": quantile_of_counts(self._l0_counts, level) for level in QUANTILES},
            dense_fraction=float((self._active_F > DENSE_ABOVE * rows.num_rows).double().mean()),
            density_counts=density_counts(density_F),
            relative_reconstruction_bias=rows.reconstruction_bias(torch.zeros_like(rows.mean_E)),
            centred_reconstruction_bias=rows.reconstruction_bias(rows.mean_E),
            norm_ratio=self._ratio.value(),
            cosine=self._cosine.value(),
            decoder_cosine_quantiles={
                f"{level:g}": float(cosine_F.quantile(level)) for level in QUANTILES if len(cosine_F)
            },
            decoder_cosine_counts=_cosine_counts(cosine_F),
        )

    def _fvu_by_site(self, rows: PairMoments) -> dict[str, float]:
        fvu, start = {}, 0
        for site, width in self._site_widths.items():
            columns = slice(start, start + width)
            deviation = float(rows.deviation_E[columns].sum())
            if deviation > 0:
                fvu[site] = float(rows.error_E[columns].sum()) / deviation
            start += width
        return fvu


def quantile_of_counts(counts: torch.Tensor, level: float) -> float:
    """Of whole numbers, of which `counts[i]` are i; linear between two neighbours, as numpy.quantile's."""
    ends = counts.cumsum(0)
    place = level * (int(ends[-1]) - 1)
    below, above = torch.searchsorted(
        ends, torch.tensor([math.floor(place), math.ceil(place)]), right=True
    ).tolist()
    return float(below + (above - below) * (place - math.floor(place)))


def density_counts(density_F: torch.Tensor) -> dict[int, int]:
    """Live latents in bins of a quarter of a decade; key b counts densities in [10^(b/4), 10^((b+1)/4))."""
    bins_N = (DENSITY_BINS_PER_DECADE * density_F[density_F > 0].log10()).floor().int()
    return _counts(bins_N)


def _cosine_counts(cosine_F: torch.Tensor) -> dict[int, int]:
    return _counts((cosine_F * COSINE_BINS).floor().int().clamp(max=COSINE_BINS - 1))


def _counts(bins_N: torch.Tensor) -> dict[int, int]:
    return dict(sorted(Counter(bins_N.tolist()).items()))


class _Mean:
    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, values_N: torch.Tensor) -> None:
        self._sum += float(values_N.sum())
        self._count += len(values_N)

    def value(self) -> float | None:
        return self._sum / self._count if self._count else None
