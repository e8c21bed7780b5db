"""Pearson, balanced accuracy and their intervals against direct computation."""

import math

import numpy as np
import pytest

from thresher.labeling.scorers.spec import BootstrapSpec
from thresher.labeling.scorers.statistics import Estimate, balanced_accuracy, pearson

BOOTSTRAP = BootstrapSpec(num_resamples=2000)


def documents_of(num_documents: int, rows_each: int) -> list[str]:
    return [f"d{index}" for index in range(num_documents) for _ in range(rows_each)]


def test_pearson_equals_numpy() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=60) + 1e6  # a large offset would drown raw sums of squares
    y = 0.5 * (x - 1e6) + rng.normal(size=60)
    value = pearson(x, y, documents_of(12, 5), BOOTSTRAP, seed=0).value
    assert value == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)


def test_interval_equals_resampling_the_rows() -> None:
    rng = np.random.default_rng(2)
    documents = np.array(documents_of(15, 4))
    x = rng.normal(size=60)
    y = x + rng.normal(size=60)
    estimate = pearson(x, y, list(documents), BOOTSTRAP, seed=7)

    names = np.unique(documents)
    weights = np.random.default_rng(7).multinomial(len(names), np.full(len(names), 1 / len(names)), size=2000)
    direct = []
    for weight in weights:
        rows = np.concatenate(
            [np.tile(np.flatnonzero(documents == n), w) for n, w in zip(names, weight, strict=True)]
        )
        direct.append(np.corrcoef(x[rows], y[rows])[0, 1])
    assert (estimate.ci_low, estimate.ci_high) == pytest.approx(
        tuple(np.quantile(direct, [0.025, 0.975])), abs=1e-9
    )


def test_interval_is_wider_when_rows_of_a_document_agree() -> None:
    """Ten copies of each observation in one document carry no more than one observation."""
    rng = np.random.default_rng(3)
    x, noise = rng.normal(size=20), rng.normal(size=20)
    copies = [np.repeat(values, 10) for values in (x, x + noise)]
    clustered = pearson(*copies, documents_of(20, 10), BOOTSTRAP, seed=0)
    naive = pearson(*copies, [str(index) for index in range(200)], BOOTSTRAP, seed=0)
    assert width(clustered) > 2 * width(naive)


def width(estimate: Estimate) -> float:
    assert estimate.ci_low is not None
    assert estimate.ci_high is not None
    return estimate.ci_high - estimate.ci_low


@pytest.mark.parametrize(
    ("x", "y"), [([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]), ([1.0, 2.0, 3.0], [0.1, 0.1, 0.1]), ([], [])]
)
def test_no_variance_has_no_correlation(x, y) -> None:
    documents = [str(index) for index in range(len(x))]
    assert pearson(np.array(x), np.array(y), documents, BOOTSTRAP, 0) == Estimate(None, None, None)


def test_one_document_has_a_value_but_no_interval() -> None:
    estimate = pearson(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]), ["d"] * 3, BOOTSTRAP, 0)
    assert estimate.value == pytest.approx(0.98198, abs=1e-5)
    assert estimate.ci_low is estimate.ci_high is None


def test_balanced_accuracy_by_hand() -> None:
    is_active = np.array([True, True, True, True, False, False])
    said = np.array([True, True, True, False, False, True])
    estimate = balanced_accuracy(is_active, said, [str(index) for index in range(6)], BOOTSTRAP, 0)
    assert estimate.value == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert estimate.ci_low is not None
    assert estimate.ci_low < estimate.value < (estimate.ci_high or math.nan)


def test_balanced_accuracy_needs_both_classes() -> None:
    said = np.array([True, False])
    assert balanced_accuracy(np.array([True, True]), said, ["a", "b"], BOOTSTRAP, 0).value is None
