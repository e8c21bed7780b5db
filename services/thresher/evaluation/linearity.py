"""How well a linear map takes one site's rows to the next's.

Razzhigaev et al. 2024, "Your Transformer is Secretly Linear", score two layers by 1 - min_A |X A - Y|^2 over centred
X and Y of Frobenius norm 1, on the rows that A was fitted to: with fewer rows than columns that is 1 for any layers.
Here A is fitted by ridge regression on some rows and scored on others, and the score is R^2. Beside it stands R^2 of
the change Y - X, since two points of one residual stream share most of what they hold (they, too, look at layers
without the residual component).

Shape suffixes: N rows, D and E widths, K singular values.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.contracts.manifests import Record

FloatArray = npt.NDArray[np.floating]
Float64Array = npt.NDArray[np.float64]
TRAIN_FRACTION = 0.75
RELATIVE_PENALTIES = 10.0 ** np.arange(-8, 2)
"""Ridge penalties, in units of the mean squared singular value of X."""
MIN_HELD_OUT_ROWS = 8


class Linearity(Record):
    r2: float | None
    """1 - sum |y - y_hat|^2 / sum |y - mean(y)|^2 on held-out rows; null where these do not vary."""
    r2_of_change: float | None
    """The same of y - x; null where the widths differ."""
    num_train_rows: int
    num_held_out_rows: int
    is_underdetermined: bool
    """Fewer training rows than columns: R^2 is then a lower bound of what a linear map can do."""


@dataclass(frozen=True)
class LinearMap:
    """y_hat = (x - x_mean) A + y_mean."""

    A_DE: Float64Array
    x_mean_D: Float64Array
    y_mean_E: Float64Array

    def apply(self, x_ND: FloatArray) -> Float64Array:
        return np.asarray((x_ND - self.x_mean_D) @ self.A_DE + self.y_mean_E)


def linearity(x_ND: FloatArray, y_NE: FloatArray) -> Linearity | None:
    """Fit on the first three quarters of the rows, score on the rest; None where these are too few."""
    cut = int(TRAIN_FRACTION * len(x_ND))
    if len(x_ND) - cut < MIN_HELD_OUT_ROWS:
        return None
    exact_ND: Float64Array = x_ND.astype(np.float64)
    exact_NE: Float64Array = y_NE.astype(np.float64)
    residual_NE = exact_NE[cut:] - fit_ridge(exact_ND[:cut], exact_NE[:cut]).apply(exact_ND[cut:])
    change_NE = exact_NE - exact_ND if x_ND.shape == y_NE.shape else None
    return Linearity(
        r2=_r2(residual_NE, exact_NE[cut:], exact_NE[:cut]),
        r2_of_change=None if change_NE is None else _r2(residual_NE, change_NE[cut:], change_NE[:cut]),
        num_train_rows=cut,
        num_held_out_rows=len(x_ND) - cut,
        is_underdetermined=cut <= x_ND.shape[1],
    )


def fit_ridge(x_ND: Float64Array, y_NE: Float64Array) -> LinearMap:
    """Ridge regression; the penalty is the one of RELATIVE_PENALTIES with the least generalised cross-validation
    error on these rows (Golub, Heath and Wahba 1979)."""
    num_rows = len(x_ND)
    x_mean_D, y_mean_E = x_ND.mean(axis=0), y_NE.mean(axis=0)
    U_NK, s_K, V_KD = np.linalg.svd(x_ND - x_mean_D, full_matrices=False)
    target_KE = U_NK.T @ (y_NE - y_mean_E)
    energy_K = np.square(target_KE).sum(axis=1)
    unreached = max(0.0, float(np.square(y_NE - y_mean_E).sum() - energy_K.sum()))
    scale = float(np.square(s_K).mean()) or 1.0

    def error_of(penalty: float) -> float:
        kept_K = np.square(s_K) / (np.square(s_K) + penalty)
        free = max(num_rows - 1 - kept_K.sum(), 1e-9 * num_rows)
        return (unreached + float((np.square(1 - kept_K) * energy_K).sum())) / float(free) ** 2

    penalty = min((scale * RELATIVE_PENALTIES).tolist(), key=error_of)
    A_DE = V_KD.T @ ((s_K / (np.square(s_K) + penalty))[:, None] * target_KE)
    return LinearMap(A_DE, x_mean_D, y_mean_E)


def _r2(residual_NE: FloatArray, held_out_NE: FloatArray, train_NE: FloatArray) -> float | None:
    """Against the best constant guess from the training rows."""
    total = float(np.square(held_out_NE - train_NE.mean(axis=0)).sum())
    return 1 - float(np.square(residual_NE).sum()) / total if total else None
