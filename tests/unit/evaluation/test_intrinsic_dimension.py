"""Dimensions of sets whose dimension is known."""

import numpy as np
import pytest

from thresher.evaluation.intrinsic_dimension import intrinsic_dimension, participation_ratio, two_nn

RNG = np.random.default_rng(0)


def planted(num_rows: int, dimension: int, width: int) -> np.ndarray:
    """Gaussian rows in a random subspace, far from the origin."""
    basis, _ = np.linalg.qr(RNG.standard_normal((width, dimension)))
    return (RNG.standard_normal((num_rows, dimension)) @ basis.T + 100).astype(np.float32)


@pytest.mark.parametrize("dimension", [1, 2, 5, 8])
def test_a_planted_subspace_is_measured_by_both(dimension: int) -> None:
    found = intrinsic_dimension(planted(2000, dimension, 50))
    assert found.two_nn == pytest.approx(dimension, rel=0.12)
    assert found.participation_ratio == pytest.approx(dimension, rel=0.05)


def test_a_curve_is_one_dimensional_to_neighbours_alone() -> None:
    angle = RNG.uniform(0, 2 * np.pi, 2000)
    circles = np.concatenate([[np.cos(k * angle), np.sin(k * angle)] for k in range(1, 6)]).T
    found = intrinsic_dimension(circles)
    assert found.two_nn == pytest.approx(1, rel=0.1)
    assert found.participation_ratio == pytest.approx(10, rel=0.05)


def test_participation_ratio_is_that_of_the_eigenvalues_whichever_side_is_longer() -> None:
    for shape in ((200, 30), (30, 200)):
        x_ND = RNG.standard_normal(shape) * np.linspace(0.1, 3, shape[1])
        eigenvalues = np.linalg.eigvalsh(np.cov(x_ND.T))
        assert participation_ratio(x_ND) == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())


def test_equal_rows_count_once_and_too_few_rows_have_no_dimension() -> None:
    x_ND = planted(500, 3, 10)
    assert two_nn(np.concatenate([x_ND, x_ND[:200]])) == two_nn(x_ND)
    assert two_nn(np.repeat(x_ND[:15], 10, axis=0)) is None
    assert participation_ratio(np.ones((20, 4))) is None
