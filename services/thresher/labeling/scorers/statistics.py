"""Statistics of readings: correlation, variance and deviation explained, accuracies, AUROC.

Shapes: N observations, D documents with the guards after them, G guards, P active and M inactive observations, S sums,
B sets of weights.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from thresher.labeling.scorers.observations import (
    Observations,
    RankObservations,
    Rows,
    Scale,
    SumObservations,
    rows_of,
)
from thresher.labeling.scorers.reading import FloatArray, Reading

RELATIVE_VARIANCE_FLOOR = 1e-12
RIGHT_AND_WRONG_GS = np.array([[1.0, 1]] * 2 + [[1.0, 0]] * 2)
BoolArray = npt.NDArray[np.bool_]


def _identity(values: FloatArray) -> FloatArray:
    return values


def _fisher(values: FloatArray) -> FloatArray:
    transformed: FloatArray = np.arctanh(np.clip(values, -LARGEST_CORRELATION, LARGEST_CORRELATION))
    return transformed


def _log_unexplained(values: FloatArray) -> FloatArray:
    transformed: FloatArray = -np.log(np.maximum(1 - values, SMALLEST_UNEXPLAINED))
    return transformed


def _explained(values: FloatArray) -> FloatArray:
    return 1 - np.exp(-values)


LARGEST_CORRELATION, SMALLEST_UNEXPLAINED = 0.9999, 1e-4
SHARE = Scale(0.0, 1.0, _identity, _identity)
CORRELATION = Scale(-1.0, 1.0, _fisher, np.tanh)
EXPLAINED = Scale(-np.inf, 1.0, _log_unexplained, _explained)


def correlation(readings: Sequence[Reading]) -> Observations:
    """Pearson's over all observations; undefined where either side is constant."""
    rows = rows_of(readings)
    # Centred first: sums of squares of raw values would lose digits to cancellation.
    x_N, y_N = (
        values - values.mean() if len(values) else values for values in (rows.predicted_N, rows.truth_N)
    )
    sums_NS = np.stack([np.ones_like(x_N), x_N, y_N, x_N * x_N, y_N * y_N, x_N * y_N], axis=1)
    return _of_sums(rows, sums_NS, _pearson_of_sums, CORRELATION)


def explained_variance(readings: Sequence[Reading]) -> Observations:
    """1 - sum (y - x)^2 / sum y^2, of y the truth and x the prediction on its scale.

    Not centred, as `rsquared_score_from_sequences` of OpenAI's automated-interpretability (2023).
    """
    rows = rows_of(readings)
    sums_NS = np.stack([(rows.truth_N - rows.predicted_N) ** 2, rows.truth_N**2], axis=1)
    return _of_sums(rows, sums_NS, _explained_of_sums, EXPLAINED)


def explained_deviation(readings: Sequence[Reading]) -> Observations:
    """1 - sum |y - x| / sum |y|, as `absolute_dev_explained_score_from_sequences` of the same source."""
    rows = rows_of(readings)
    sums_NS = np.stack([np.abs(rows.truth_N - rows.predicted_N), np.abs(rows.truth_N)], axis=1)
    return _of_sums(rows, sums_NS, _explained_of_sums, EXPLAINED)


def balanced_accuracy(readings: Sequence[Reading]) -> Observations:
    """Mean of the share of active texts called so and of inactive ones called so; chance is 0.5.

    Guards: of each class one text judged right and one judged wrong (Agresti and Caffo 2000, "Simple and Effective
    Confidence Intervals for Proportions and Differences of Proportions"): ten right of ten are no certainty.
    """
    rows = rows_of(readings)
    active_N = rows.truth_N > 0
    right_N = active_N == (rows.predicted_N > 0.5)
    sums_NS = np.stack([active_N, ~active_N, active_N & right_N, ~active_N & right_N], axis=1).astype(float)
    right_GS = [[1.0, 0, 1, 0], [0, 1, 0, 1]]
    wrong_GS = [[1.0, 0, 0, 0], [0, 1, 0, 0]]
    return _of_sums(rows, sums_NS, _balanced_accuracy_of_sums, SHARE, np.array(right_GS + wrong_GS))


def accuracy(readings: Sequence[Reading]) -> Observations:
    """Share of trials in which what was said is so. Guarded by two right ones and two wrong ones (Agresti and Coull
    1998, "Approximate is Better than Exact for Interval Estimation of Binomial Proportions")."""
    rows = rows_of(readings)
    right_N = (rows.truth_N > 0) == (rows.predicted_N > 0.5)
    sums_NS = np.stack([np.ones_like(rows.truth_N), right_N.astype(float)], axis=1)
    return _of_sums(rows, sums_NS, _share_of_sums, SHARE, RIGHT_AND_WRONG_GS)


def precision(readings: Sequence[Reading]) -> Observations:
    """Share of the observations said to be active that are so; undefined where none is said to be. Guarded as
    `accuracy`."""
    rows = rows_of(readings)
    return _share_among(rows, rows.predicted_N > 0.5, rows.truth_N > 0)


def recall(readings: Sequence[Reading]) -> Observations:
    """Share of the active observations that were said to be so; undefined where none is active. Guarded likewise."""
    rows = rows_of(readings)
    return _share_among(rows, rows.truth_N > 0, rows.predicted_N > 0.5)


def auroc(readings: Sequence[Reading]) -> Observations:
    """Share of pairs of an active and an inactive text in which the active one was given more; ties are one half.

    Guards: of each class a text at the right end and one at the wrong end.
    """
    rows = rows_of(readings)
    num_documents, num_guards = len(rows.documents), 4
    guard_N = num_documents + np.arange(num_guards)
    document_N = np.concatenate([rows.document_N, guard_N])
    active_N = np.concatenate([rows.truth_N > 0, [True, False, True, False]])
    predicted_N = np.concatenate([rows.predicted_N, [np.inf, -np.inf, -np.inf, np.inf]])
    active_P1, inactive_1M = predicted_N[active_N][:, None], predicted_N[~active_N][None, :]
    wins_PM = (active_P1 > inactive_1M) + 0.5 * (active_P1 == inactive_1M)
    shape = (num_documents + num_guards,) * 2
    wins_DD = np.zeros(shape)
    np.add.at(wins_DD, np.ix_(document_N[active_N], document_N[~active_N]), wins_PM)
    return RankObservations(
        documents=rows.documents,
        scale=SHARE,
        num_informative=num_documents,
        num_scored=len(rows.truth_N),
        num_unparsed=rows.num_unparsed,
        num_guards=num_guards,
        wins_DD=wins_DD,
        num_active_D=np.bincount(document_N[active_N], minlength=shape[0]).astype(np.float64),
        num_inactive_D=np.bincount(document_N[~active_N], minlength=shape[0]).astype(np.float64),
    )


def yes_or_no(name: str, readings: Sequence[Reading]) -> dict[str, Observations]:
    """Of shares of yes: the balanced accuracy of "more yes than no", and how well their order alone tells the classes.

    A judge that leans to one answer is at chance by the first, and may not be by the second.
    """
    return {name: balanced_accuracy(readings), f"{name}_auroc": auroc(readings)}


def _share_among(rows: Rows, among_N: BoolArray, counted_N: BoolArray) -> SumObservations:
    sums_NS = np.stack([among_N, among_N & counted_N], axis=1).astype(float)
    return _of_sums(rows, sums_NS, _share_of_sums, SHARE, RIGHT_AND_WRONG_GS)


def _of_sums(
    rows: Rows,
    sums_NS: FloatArray,
    formula: Callable[[FloatArray], FloatArray],
    scale: Scale,
    guard_GS: FloatArray | None = None,
) -> SumObservations:
    sums_DS = rows.sums_by_document(sums_NS)
    num_informative, num_guards = len(np.unique(rows.document_N[rows.truth_N > 0])), 0
    if guard_GS is not None:
        num_informative, num_guards = len(rows.documents), len(guard_GS)
        sums_DS = np.concatenate([sums_DS, guard_GS])
    return SumObservations(
        documents=rows.documents,
        scale=scale,
        num_informative=num_informative,
        num_scored=len(rows.truth_N),
        num_unparsed=rows.num_unparsed,
        num_guards=num_guards,
        sums_DS=sums_DS,
        formula=formula,
    )


def _pearson_of_sums(sums_BS: FloatArray) -> FloatArray:
    n_B, x_B, y_B, xx_B, yy_B, xy_B = sums_BS.T
    n_B = np.where(n_B > 0, n_B, np.nan)
    x_variance_B, y_variance_B = xx_B - x_B**2 / n_B, yy_B - y_B**2 / n_B
    defined_B = (x_variance_B > RELATIVE_VARIANCE_FLOOR * xx_B) & (
        y_variance_B > RELATIVE_VARIANCE_FLOOR * yy_B
    )
    scale_B = np.sqrt(np.where(defined_B, x_variance_B * y_variance_B, np.nan))
    pearson_B: FloatArray = np.clip((xy_B - x_B * y_B / n_B) / scale_B, -1.0, 1.0)
    return pearson_B


def _explained_of_sums(sums_BS: FloatArray) -> FloatArray:
    left_B, all_B = sums_BS.T
    explained_B: FloatArray = 1 - left_B / np.where(all_B > 0, all_B, np.nan)
    return explained_B


def _balanced_accuracy_of_sums(sums_BS: FloatArray) -> FloatArray:
    active_B, inactive_B, active_right_B, inactive_right_B = sums_BS.T
    hit_rate_B = active_right_B / np.where(active_B > 0, active_B, np.nan)
    rejection_rate_B = inactive_right_B / np.where(inactive_B > 0, inactive_B, np.nan)
    balanced_B: FloatArray = (hit_rate_B + rejection_rate_B) / 2
    return balanced_B


def _share_of_sums(sums_BS: FloatArray) -> FloatArray:
    all_B, right_B = sums_BS.T
    share_B: FloatArray = right_B / np.where(all_B > 0, all_B, np.nan)
    return share_B
