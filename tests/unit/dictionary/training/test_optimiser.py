"""The optimiser against torch's Adam, and what unit-norm rows add, in both of its implementations."""

import pytest
import torch
from torch.nn import functional

from thresher.dictionary.training import optimiser
from thresher.dictionary.training.optimiser import MOMENTS, Adam

STEPS, RATE, BETAS, EPSILON = 7, 1e-2, (0.9, 0.99), 1e-8


@pytest.fixture(params=["compiled", "plain"], autouse=True)
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimiser, "is_compiled", lambda device: request.param == "compiled")


def gradients(shape: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) * (step != 3) for step in range(STEPS)]


def run(weight: torch.Tensor, widths: list[int] | None = None, start: int = 0, stop: int = STEPS,
        moments: dict[str, torch.Tensor] | None = None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:  # fmt: skip
    weight = weight.clone().requires_grad_()
    moments = moments or {f"{moment}.W": torch.zeros_like(weight) for moment in MOMENTS}
    adam = Adam(
        {"W": weight},
        moments,
        num_steps=start,
        betas=BETAS,
        epsilon=EPSILON,
        unit_norm={} if widths is None else {"W": widths},
    )
    for step in range(start, stop):
        weight.grad = gradients(tuple(weight.shape))[step]
        adam.step(RATE / (1 + step))
    return weight.detach(), moments


@pytest.mark.parametrize("shape", [(23, 17), (29,), (3, 129)])
def test_steps_are_those_of_torch_s_adam(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = weight.double().requires_grad_()
    adam = torch.optim.Adam([expected], betas=BETAS, eps=EPSILON)
    for step, grad in enumerate(gradients(shape)):
        expected.grad = grad.double()
        adam.param_groups[0]["lr"] = RATE / (1 + step)
        adam.step()
    found, moments = run(weight)
    torch.testing.assert_close(found.double(), expected.detach(), rtol=1e-5, atol=1e-6)
    for moment in MOMENTS:
        torch.testing.assert_close(
            moments[f"{moment}.W"].double(), adam.state[expected][moment], rtol=1e-4, atol=1e-7
        )


def test_rows_of_norm_1_stay_so_and_the_gradient_along_them_is_taken_out() -> None:
    weight = functional.normalize(torch.randn(23, 17, generator=torch.Generator().manual_seed(0)), dim=1)
    expected = weight.double().requires_grad_()
    adam = torch.optim.Adam([expected], betas=BETAS, eps=EPSILON)
    for step, grad in enumerate(gradients((23, 17))):
        row = expected.detach()
        expected.grad = grad.double() - row * (grad.double() * row).sum(dim=1, keepdim=True)
        adam.param_groups[0]["lr"] = RATE / (1 + step)
        adam.step()
        with torch.no_grad():
            functional.normalize(expected, dim=1, out=expected)
    found, _ = run(weight, [17])
    torch.testing.assert_close(found.double(), expected.detach(), rtol=1e-5, atol=1e-6)


def test_the_sum_of_a_row_s_block_norms_stays_1() -> None:
    weight = torch.randn(23, 17, generator=torch.Generator().manual_seed(0))
    blocks = [5, 12]
    norms = torch.stack([block.norm(dim=1) for block in weight.split(blocks, dim=1)]).sum(dim=0)
    weight = weight / norms.unsqueeze(1)
    found, moments = run(weight, blocks, stop=1)
    totals = torch.stack([block.norm(dim=1) for block in found.split(blocks, dim=1)]).sum(dim=0)
    torch.testing.assert_close(totals, torch.ones(23))
    normal = torch.cat([functional.normalize(block, dim=1) for block in weight.split(blocks, dim=1)], dim=1)
    along = (moments["exp_avg.W"] * normal).sum(dim=1)
    assert along.abs().max() < 1e-6
    assert moments["exp_avg.W"].abs().max() > 0.1


def test_a_resumed_run_repeats_the_bits() -> None:
    weight = torch.randn(23, 17, generator=torch.Generator().manual_seed(0))
    whole, _ = run(weight)
    half, moments = run(weight, stop=4)
    rest, _ = run(half, start=4, moments=moments)
    assert torch.equal(whole, rest)


def test_a_weight_can_have_a_rate_of_its_own() -> None:
    start = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    moved = {}
    for factor in (1.0, 10.0):
        weight = start.clone().requires_grad_()
        moments = {f"{moment}.W": torch.zeros_like(start) for moment in MOMENTS}
        adam = Adam(
            {"W": weight},
            moments,
            num_steps=0,
            betas=BETAS,
            epsilon=EPSILON,
            unit_norm={},
            rate_factors={"W": factor},
        )
        weight.grad = gradients((5, 7))[0]
        adam.step(RATE)
        moved[factor] = weight.detach() - start
    torch.testing.assert_close(moved[10.0], 10 * moved[1.0])
