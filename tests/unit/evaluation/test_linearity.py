"""Linear maps that are known: found on held-out rows, and not where there is none."""

import numpy as np
import pytest

from thresher.evaluation.linearity import fit_ridge, linearity

N, D = 800, 20


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_a_planted_map_is_recovered(rng: np.random.Generator) -> None:
    x_ND, A_DE = rng.standard_normal((N, D)) + 5, rng.standard_normal((D, 7))
    y_NE = x_ND @ A_DE - 3
    np.testing.assert_allclose(fit_ridge(x_ND, y_NE).A_DE, A_DE, atol=1e-5)
    found = linearity(x_ND, y_NE)
    assert found is not None
    assert found.r2 == pytest.approx(1, abs=1e-9)
    assert found.r2_of_change is None, "the widths differ"
    assert (found.num_train_rows, found.num_held_out_rows) == (600, 200)


def test_r2_is_the_share_that_is_linear(rng: np.random.Generator) -> None:
    x_ND, noise = rng.standard_normal((4000, D)), rng.standard_normal((4000, D))
    found = linearity(x_ND, 2 * x_ND + noise)
    assert found is not None
    assert found.r2 == pytest.approx(0.8, abs=0.02)
    assert found.r2_of_change == pytest.approx(0.5, abs=0.03), "x + noise, of which half is linear in x"


@pytest.mark.parametrize("num_rows", [40, 800])
def test_unrelated_rows_are_not_mapped_even_with_fewer_rows_than_columns(
    rng: np.random.Generator, num_rows: int
) -> None:
    found = linearity(rng.standard_normal((num_rows, 50)), rng.standard_normal((num_rows, 50)))
    assert found is not None
    assert found.r2 is not None
    assert found.r2 < 0.1
    assert found.is_underdetermined == (num_rows == 40)


def test_what_depends_on_x_but_not_linearly_does_not_count(rng: np.random.Generator) -> None:
    x_ND = rng.standard_normal((4000, D))
    found = linearity(x_ND, np.abs(x_ND))
    assert found is not None
    assert found.r2 == pytest.approx(0, abs=0.03)


def test_too_few_or_constant_rows_have_no_figure(rng: np.random.Generator) -> None:
    x_ND = rng.standard_normal((N, D))
    assert linearity(x_ND[:20], x_ND[:20]) is None
    constant = linearity(x_ND, np.ones((N, 3)))
    assert constant is not None
    assert constant.r2 is None
