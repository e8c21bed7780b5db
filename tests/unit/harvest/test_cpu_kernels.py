"""Norms by vLLM's compiled kernels are those of float64 arithmetic, and what they cannot take goes elsewhere."""

import pytest
import torch

pytestmark = pytest.mark.real

EPSILON = 1e-5
RELATIVE_ERROR = {torch.float32: 1e-6, torch.bfloat16: 2**-8}
"""Half a unit in the last place of what is given out, and some rounding on the way."""


@pytest.fixture(params=RELATIVE_ERROR, ids=str)
def given(request) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows, a residual stream and a weight."""
    generator = torch.Generator().manual_seed(0)
    rows, stream, weight = (
        torch.randn(*shape, generator=generator) for shape in ((37, 576), (37, 576), (576,))
    )
    return rows.to(request.param), (10 * stream).to(request.param), weight.to(request.param)


def normed(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    exact = rows.double()
    return exact / (exact.square().mean(-1, keepdim=True) + EPSILON).sqrt() * weight.double()


def check_near(found: torch.Tensor, exact: torch.Tensor, units: float = 1.0) -> None:
    bound = units * RELATIVE_ERROR[found.dtype]
    assert torch.all((found.double() - exact).abs() <= bound * exact.abs() + 1e-12)


def test_a_norm(given) -> None:
    from thresher.harvest.cpu_kernels import rms_norm

    rows, _, weight = given
    check_near(rms_norm.impl_fn(rows, weight, EPSILON), normed(rows, weight))


def test_a_sum_and_its_norm(given) -> None:
    from thresher.harvest.cpu_kernels import fused_add_rms_norm

    rows, stream, weight = given
    exact = rows.double() + stream.double()
    out, total = fused_add_rms_norm.impl_fn(rows.clone(), stream.clone(), weight, EPSILON)
    check_near(total, exact)
    # The norm may be of the sum before or after it is rounded.
    assert torch.allclose(out.double(), normed(exact, weight), rtol=4 * RELATIVE_ERROR[rows.dtype], atol=1e-6)


def test_what_the_kernels_do_not_take_is_left_to_torch() -> None:
    from vllm import ir

    from thresher.harvest.cpu_kernels import NORM_PRIORITY, PROVIDER

    def chosen(rows: torch.Tensor, weight: torch.Tensor | None) -> str:
        with ir.ops.rms_norm.set_priority(NORM_PRIORITY["rms_norm"]):
            return ir.ops.rms_norm.dispatch(rows, weight, EPSILON).provider

    rows, weight = torch.ones(4, 32), torch.ones(32)
    assert chosen(rows, weight) == PROVIDER
    assert chosen(rows[:, :24], weight[:24]) == "native", "no whole steps"
    assert chosen(torch.ones(32, 4).T, weight) == "native", "not contiguous"
    assert chosen(rows, None) == "native"
    assert chosen(rows.bfloat16(), weight) == "native"
