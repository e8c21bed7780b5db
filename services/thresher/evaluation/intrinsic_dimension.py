"""How many dimensions rows fill: locally (TwoNN) and by variance (participation ratio).

Shape suffixes: N rows, D width.
"""

import numpy as np
import numpy.typing as npt

from thresher.contracts.manifests import Record

FloatArray = npt.NDArray[np.floating]
KEPT_FRACTION = 0.9
CHUNK_ROWS = 512
MIN_ROWS = 16


class IntrinsicDimension(Record):
    two_nn: float | None
    """Facco et al. 2017; null where too few distinct rows are left."""
    participation_ratio: float | None
    """(sum of eigenvalues)^2 / sum of squared eigenvalues of the covariance; null where all rows are equal."""
    num_rows: int


def intrinsic_dimension(x_ND: FloatArray) -> IntrinsicDimension:
    """Both figures of one sample. Both fall short of a large dimension when rows are few."""
    return IntrinsicDimension(
        two_nn=two_nn(x_ND), participation_ratio=participation_ratio(x_ND), num_rows=len(x_ND)
    )


def two_nn(x_ND: FloatArray) -> float | None:
    """Facco, d'Errico, Rodriguez and Laio 2017, "Estimating the intrinsic dimension of datasets by a minimal
    neighborhood information": with mu the ratio of a row's second to its first neighbour distance and F its empirical
    distribution, the slope of -log(1 - F) against log mu through the origin, the largest tenth of mu left out.

    Equal rows count once. None where fewer than 16 are left.
    """
    distinct_ND = np.unique(x_ND.astype(np.float64), axis=0)
    num_rows = len(distinct_ND)
    if num_rows < MIN_ROWS:
        return None
    nearest_N2 = _two_nearest(distinct_ND - distinct_ND.mean(axis=0))
    log_mu = np.sort(np.log(nearest_N2[:, 1] / nearest_N2[:, 0]))
    kept = int(KEPT_FRACTION * num_rows)
    log_mu, exponent = log_mu[:kept], -np.log1p(-np.arange(1, kept + 1) / num_rows)
    squared = float(log_mu @ log_mu)
    return float(log_mu @ exponent) / squared if squared else None


def _two_nearest(x_ND: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distances of each row to its two nearest others. They are found by scalar products and measured exactly."""
    squared_N = np.square(x_ND).sum(axis=1)
    out = np.empty((len(x_ND), 2))
    for start in range(0, len(x_ND), CHUNK_ROWS):
        chunk = x_ND[start : start + CHUNK_ROWS]
        distances = squared_N - 2 * (chunk @ x_ND.T)
        distances[np.arange(len(chunk)), np.arange(start, start + len(chunk))] = np.inf
        nearest = np.argpartition(distances, 2, axis=1)[:, :3]
        exact = np.linalg.norm(chunk[:, None, :] - x_ND[nearest], axis=2)
        out[start : start + CHUNK_ROWS] = np.sort(exact, axis=1)[:, :2]
    return out


def participation_ratio(x_ND: FloatArray) -> float | None:
    """Of the covariance's eigenvalues, by its trace and Frobenius norm: between 1 and min(N - 1, D)."""
    centred_ND = x_ND.astype(np.float64) - x_ND.mean(axis=0, dtype=np.float64)
    smaller = centred_ND.T @ centred_ND if x_ND.shape[0] > x_ND.shape[1] else centred_ND @ centred_ND.T
    squared = float(np.square(smaller).sum())
    return float(np.trace(smaller)) ** 2 / squared if squared else None
