"""Every metric against its definition, computed by numpy over all rows at once.

Shape suffixes: N rows, E width, F latents.
"""

import numpy as np
import pytest
import torch

from thresher.contracts.manifests import ReconstructionMetrics
from thresher.latents.decoder_cosines import largest_cosines
from thresher.latents.kernels import SparseCodes, codes_above
from thresher.latents.reconstruction import QUANTILES, ReconstructionAccumulator

N, E, F = 3000, 12, 40
SITES = {"mlp_out.1": 5, "mlp_out.2": 7}
NUM_SINKS = 20
FIRST = slice(0, 1200)


@pytest.fixture(scope="module")
def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """y with a large mean and a few sinks, and a shrunk, noisy reconstruction."""
    generator = torch.Generator().manual_seed(0)
    y_NE = torch.randn(N, E, generator=generator) + 3
    y_NE[torch.randperm(N, generator=generator)[:NUM_SINKS]] *= 60
    y_NE[5] = 0
    return y_NE, 0.8 * y_NE + 0.4 * torch.randn(N, E, generator=generator)


@pytest.fixture(scope="module")
def codes_NF() -> torch.Tensor:
    """Dense codes: of very different densities, one latent dead and one always active."""
    generator = torch.Generator().manual_seed(1)
    rates_F = torch.logspace(-3.2, -0.2, F)
    codes_NF = (torch.rand(N, F, generator=generator) < rates_F).float()
    codes_NF[:, 0], codes_NF[:, 1] = 0, 1
    return codes_NF


@pytest.fixture(scope="module")
def decoder_FE() -> torch.Tensor:
    decoder_FE = torch.randn(F, E, generator=torch.Generator().manual_seed(2))
    decoder_FE[7] = -2 * decoder_FE[3]
    decoder_FE[9] = 0
    return decoder_FE


@pytest.fixture(scope="module")
def metrics(
    rows: tuple[torch.Tensor, torch.Tensor], codes_NF: torch.Tensor, decoder_FE: torch.Tensor
) -> ReconstructionMetrics:
    y_NE, y_hat_NE = rows
    accumulator = ReconstructionAccumulator(E, F, SITES)
    for part in (FIRST, slice(1200, 1201), slice(1201, 1201), slice(1201, N)):
        accumulator.add(y_NE[part], y_hat_NE[part], sparse(codes_NF[part]))
    return accumulator.metrics(decoder_FE)


def sparse(codes_NF: torch.Tensor) -> SparseCodes:
    return codes_above(codes_NF, 0.0)


def numpy_fvu(y: np.ndarray, y_hat: np.ndarray) -> float:
    return float(((y - y_hat) ** 2).sum() / ((y - y.mean(axis=0)) ** 2).sum())


@pytest.fixture(scope="module")
def arrays(rows: tuple[torch.Tensor, torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    return rows[0].double().numpy(), rows[1].double().numpy()


def test_fvu_pooled_and_of_each_site(
    metrics: ReconstructionMetrics, arrays: tuple[np.ndarray, np.ndarray]
) -> None:
    y, y_hat = arrays
    assert metrics.fvu == pytest.approx(numpy_fvu(y, y_hat), rel=1e-12)
    assert metrics.explained_variance == 1 - metrics.fvu
    assert metrics.fvu_by_site == {
        "mlp_out.1": pytest.approx(numpy_fvu(y[:, :5], y_hat[:, :5]), rel=1e-12),
        "mlp_out.2": pytest.approx(numpy_fvu(y[:, 5:], y_hat[:, 5:]), rel=1e-12),
    }


def test_outliers_hold_the_variance_and_are_told_apart(
    metrics: ReconstructionMetrics, arrays: tuple[np.ndarray, np.ndarray]
) -> None:
    y, y_hat = arrays
    norms = np.linalg.norm(y, axis=1)
    inside = norms <= 8 * np.quantile(norms[FIRST], 0.5)
    assert (~inside).sum() == NUM_SINKS
    assert metrics.outlier_share == pytest.approx(NUM_SINKS / N)
    deviation = ((y - y.mean(axis=0)) ** 2).sum(axis=1)
    assert metrics.outlier_variance_share == pytest.approx(deviation[~inside].sum() / deviation.sum())
    assert metrics.outlier_variance_share > 0.8
    assert metrics.fvu_without_outliers == pytest.approx(numpy_fvu(y[inside], y_hat[inside]), rel=1e-12)
    assert metrics.fvu_without_outliers > 2 * metrics.fvu


def test_bands_of_norms(metrics: ReconstructionMetrics, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    y, y_hat = arrays
    norms = np.linalg.norm(y, axis=1)
    deviation, error = ((y - y.mean(axis=0)) ** 2).sum(axis=1), ((y - y_hat) ** 2).sum(axis=1)
    edges = [*np.quantile(norms[FIRST], np.arange(1, 10) / 10), 8 * np.median(norms[FIRST]), np.inf]
    assert len(metrics.norm_bands) == 11
    low = -1.0
    for band, high in zip(metrics.norm_bands, edges, strict=True):
        chosen = (norms > low) & (norms <= high)
        assert band.above_norm == pytest.approx(max(low, 0))
        assert band.num_rows == chosen.sum()
        assert band.variance_share == pytest.approx(deviation[chosen].sum() / deviation.sum())
        assert band.error_share == pytest.approx(error[chosen].sum() / error.sum())
        assert band.fvu == pytest.approx(error[chosen].sum() / deviation[chosen].sum())
        low = high
    assert sum(band.num_rows for band in metrics.norm_bands) == N


def test_shrinkage(metrics: ReconstructionMetrics, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    y, y_hat = arrays
    scales = np.linspace(0.7, 1.1, 4001)
    centre = y.mean(axis=0)
    for gamma, x, x_hat in (
        (metrics.relative_reconstruction_bias, y, y_hat),
        (metrics.centred_reconstruction_bias, y - centre, y_hat - centre),
    ):
        assert gamma == pytest.approx((x_hat**2).sum() / (x_hat * x).sum(), rel=1e-10)
        errors = [((x_hat / scale - x) ** 2).sum() for scale in scales[::20]]
        assert gamma == pytest.approx(scales[::20][np.argmin(errors)], abs=2e-3), "it minimises the error"
    assert metrics.relative_reconstruction_bias < 0.85
    norms, norms_hat = np.linalg.norm(y, axis=1), np.linalg.norm(y_hat, axis=1)
    kept = norms > 0
    assert metrics.norm_ratio == pytest.approx((norms_hat[kept] / norms[kept]).mean())
    cosines = (y * y_hat).sum(axis=1)[kept] / (norms * norms_hat)[kept]
    assert metrics.cosine == pytest.approx(cosines.mean())


def test_activity(metrics: ReconstructionMetrics, codes_NF: torch.Tensor) -> None:
    active = codes_NF.numpy() > 0
    l0, density = active.sum(axis=1), active.mean(axis=0)
    assert metrics.l0 == pytest.approx(l0.mean())
    assert metrics.l0_quantiles == {f"{level:g}": np.quantile(l0, level) for level in QUANTILES}
    assert metrics.dead_fraction == (density == 0).mean() > 0
    assert metrics.dense_fraction == (density > 0.1).mean() > 0
    bins = np.floor(4 * np.log10(density[density > 0])).astype(int)
    assert metrics.density_counts == dict(zip(*np.unique(bins, return_counts=True), strict=True))
    assert metrics.density_counts[0] == 1, "a latent of density 1"


@pytest.mark.parametrize("block_entries", [1, 30, 10**6])
def test_decoder_cosines_in_blocks(decoder_FE: torch.Tensor, block_entries: int) -> None:
    unit = decoder_FE.double().numpy()
    norms = np.linalg.norm(unit, axis=1, keepdims=True)
    unit = np.divide(unit, norms, out=np.zeros_like(unit), where=norms > 0)
    cosines = np.abs(unit @ unit.T)
    np.fill_diagonal(cosines, 0)
    found = largest_cosines(decoder_FE, block_entries)
    np.testing.assert_allclose(found, cosines.max(axis=1), atol=1e-6)
    assert found[3] == found[7] == pytest.approx(1, abs=1e-6)
    assert found[9] == 0


def test_distribution_of_decoder_cosines(metrics: ReconstructionMetrics, decoder_FE: torch.Tensor) -> None:
    cosines = largest_cosines(decoder_FE).double().numpy()
    assert metrics.decoder_cosine_quantiles == {
        f"{level:g}": pytest.approx(np.quantile(cosines, level)) for level in QUANTILES
    }
    counts, _ = np.histogram(cosines, bins=20, range=(0, 1))
    assert metrics.decoder_cosine_counts == {index: count for index, count in enumerate(counts) if count}


def test_metrics_survive_json(metrics: ReconstructionMetrics) -> None:
    assert ReconstructionMetrics.model_validate_json(metrics.model_dump_json()) == metrics


def test_rows_of_one_norm_and_half_of_them_zero() -> None:
    y_NE = torch.zeros(10, E)
    y_NE[6:, 0] = torch.tensor([1.0, -1.0, 1.0, -1.0])
    accumulator = ReconstructionAccumulator(E, F)
    accumulator.add(y_NE, torch.zeros(10, E), sparse(torch.zeros(10, F)))
    metrics = accumulator.metrics()
    assert metrics.fvu == 1
    assert (metrics.outlier_share, metrics.outlier_variance_share) == (pytest.approx(0.4), pytest.approx(1))
    assert metrics.fvu_without_outliers is None
    assert metrics.relative_reconstruction_bias is None
    assert metrics.cosine is None
    assert metrics.l0_quantiles["0.5"] == 0
    assert metrics.decoder_cosine_counts == {}
