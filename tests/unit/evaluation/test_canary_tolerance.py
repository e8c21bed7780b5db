"""Which rows are judged, and how strictly."""

from types import SimpleNamespace

import numpy as np
import pytest

from thresher.evaluation.canary_tolerance import tolerance

HARVEST = SimpleNamespace(
    provenance=[SimpleNamespace(dtype="bfloat16")],
    sites={"resid_post.18": SimpleNamespace(max_row_error=0.0)},
    encoding="bfloat16",
)


@pytest.mark.parametrize(("num_unstable", "num_unjudged"), [(0, 0), (1, 1), (5, 5), (6, 0)])
def test_rows_that_rounding_decides_are_not_judged_unless_they_are_many(
    num_unstable: int, num_unjudged: int
) -> None:
    rounding_N = np.full(100, 0.01)
    rounding_N[:num_unstable] = 0.9
    allowed = tolerance(HARVEST, "resid_post.18", rounding_N)
    assert allowed.num_unstable == num_unjudged
    assert np.isinf(allowed.rows_N[:num_unjudged]).all()
    assert (allowed.rows_N[num_unjudged:] <= 0.5).all()
    assert allowed.median < 0.1
