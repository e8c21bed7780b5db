"""Every architecture's loss and all its gradients, for every target, against the papers' formulae in float64.

The formulations here are dense, share no code with the product, and leave differentiation to autograd. Straight-through
estimators are written as constants times the threshold less itself.

Shape suffixes: B rows, D width of the input, E width of the output, F latents.
"""

from typing import Any

import pytest
import torch

from fixtures.objectives import (
    LAYOUTS,
    NUM_STEPS,
    VARIANCE,
    B,
    F,
    batch_of,
    dead_latents,
    objective_of,
    specs,
    weights_of,
)
from thresher.dictionary.architectures import candidates
from thresher.dictionary.target.pair_layout import PairLayout

Tensors = dict[str, torch.Tensor]
DEAD = {"none": [], "few": [3, 8, 20], "many": list(range(10, 22))}


class Reference:
    """A paper's loss of one batch; sums over rows are divided by rows and variance."""

    def __init__(self, spec: Any, layout: PairLayout, w: Tensors, x: torch.Tensor, y: torch.Tensor) -> None:
        self.spec, self.layout, self.w, self.x, self.y = spec, layout, w, x, y
        is_autoencoder = layout.reconstructs_input and len(layout.input_widths) == 1
        self.x_in = x - w["b_dec"] if is_autoencoder else x
        if spec.decoder_norm == "unit":
            self.norm_F = torch.ones(F, dtype=torch.float64)
        else:
            start, self.norm_F = 0, torch.zeros(F, dtype=torch.float64)
            for width in layout.output_widths:
                self.norm_F = self.norm_F + (w["W_dec"][:, start : start + width] ** 2).sum(1).sqrt()
                start += width

    def z(self, bias: str = "b_enc") -> torch.Tensor:
        return torch.einsum("bd,fd->bf", self.x_in, self.w["W_enc"]) + self.w[bias]

    def decode(self, codes: torch.Tensor, w: Tensors | None = None) -> torch.Tensor:
        w = w or self.w
        y_hat = torch.einsum("bf,fe->be", codes, w["W_dec"]) + w["b_dec"]
        return y_hat + torch.einsum("bd,ed->be", self.x, w["W_skip"]) if self.layout.skip else y_hat

    def mean(self, terms: torch.Tensor) -> torch.Tensor:
        return terms.sum() / (B * VARIANCE)

    def error(self, y_hat: torch.Tensor) -> torch.Tensor:
        return self.mean((self.y - y_hat) ** 2)

    def aux_k(self, y_hat: torch.Tensor, dead: list[int]) -> torch.Tensor | float:
        """Gao et al. 2024, A.2, with the scale of OpenAI's and SAELens' code."""
        if not dead:
            return 0.0
        z = self.z()[:, dead]
        rank = (z * self.norm_F[dead]).argsort(dim=1, descending=True).argsort(dim=1)
        z = torch.where(rank < self.spec.k_aux, z, 0).clamp(min=0)
        residual_hat = torch.einsum("bf,fe->be", z, self.w["W_dec"][dead])
        scale = min(len(dead) / self.spec.k_aux, 1.0)
        return scale * self.mean(((self.y - y_hat).detach() - residual_hat) ** 2)

    def topk(self, dead: list[int], step: int) -> torch.Tensor:
        z = self.z().clamp(min=0)
        rank = (z * self.norm_F).argsort(dim=1, descending=True).argsort(dim=1)
        y_hat = self.decode(torch.where(rank < self.spec.k, z, 0))
        return self.error(y_hat) + self.spec.aux_coefficient * self.aux_k(y_hat, dead)

    def batch_codes(self) -> torch.Tensor:
        z = self.z().clamp(min=0)
        order = (z * self.norm_F).flatten().argsort(descending=True)
        keep = torch.zeros(B * F, dtype=torch.bool)
        keep[order[: B * self.spec.k]] = True
        return torch.where(keep.view(B, F), z, 0)

    def batch_topk(self, dead: list[int], step: int) -> torch.Tensor:
        y_hat = self.decode(self.batch_codes())
        return self.error(y_hat) + self.spec.aux_coefficient * self.aux_k(y_hat, dead)

    def matryoshka(self, dead: list[int], step: int) -> torch.Tensor:
        codes, total = self.batch_codes(), torch.zeros((), dtype=torch.float64)
        for width, weight in zip(self.spec.prefixes, self.spec.prefix_weights, strict=True):
            inside = torch.arange(F) < width
            total = total + weight * self.error(self.decode(codes * inside)) / sum(self.spec.prefix_weights)
        return total + self.spec.aux_coefficient * self.aux_k(self.decode(codes), dead)

    def warmth(self, step: int) -> float:
        return min(1.0, (step + 1) / (self.spec.sparsity_warmup_fraction * NUM_STEPS))

    def relu(self, dead: list[int], step: int) -> torch.Tensor:
        codes = self.z().clamp(min=0)
        sized = codes * self.norm_F
        if self.spec.penalty == "l1":
            penalty = sized.sum()
        elif self.spec.penalty == "tanh":
            penalty = torch.tanh(self.spec.tanh_scale * sized).sum()
        else:
            start, last = self.spec.p_anneal_start * NUM_STEPS, NUM_STEPS - 1
            p = 1 - (1 - self.spec.p_end) * min(1.0, max(0.0, (step - start) / (last - start)))
            powers = ((sized + 1e-3) ** p - 1e-3**p).sum()
            penalty = powers * (sized.sum() / powers).detach()
        return self.error(self.decode(codes)) + self.warmth(step) * self.spec.coefficient * self.mean(penalty)

    def gated(self, dead: list[int], step: int) -> torch.Tensor:
        """Rajamanoharan et al. 2024a, eq. 8, and the pseudo-code of its appendix G."""
        w = self.w
        W_mag = torch.exp(w["r_mag"])[:, None] * w["W_enc"]
        magnitude = (torch.einsum("bd,fd->bf", self.x_in, W_mag) + w["b_mag"]).clamp(min=0)
        gate = self.z("b_gate")
        frozen = {name: w[name].detach() for name in ("W_dec", "b_dec", "W_skip") if name in w}
        penalty = self.mean(gate.clamp(min=0) * self.norm_F)
        return (
            self.error(self.decode((gate > 0) * magnitude))
            + self.warmth(step) * self.spec.coefficient * penalty
            + self.error(self.decode(gate.clamp(min=0), frozen))
        )

    def jumprelu(self, dead: list[int], step: int) -> torch.Tensor:
        """Rajamanoharan et al. 2024b, eq. 9, 11 and 12; Conerly et al. 2025."""
        spec, z, theta = self.spec, self.z(), self.w["log_threshold"].exp()
        near = ((z - theta).abs() < spec.bandwidth / 2).double().detach()
        slope = theta - theta.detach()  # 0, with gradient 1
        active = (z > theta).double().detach()
        codes = z * active - slope * (theta * near).detach() / spec.bandwidth
        steps = active - slope * near / spec.bandwidth
        l0 = steps.sum() / B
        if spec.penalty == "tanh":
            penalty = self.mean(torch.tanh(spec.tanh_scale * codes * self.norm_F))
        elif spec.target_l0 is None:
            penalty = l0
        else:
            penalty = (l0 / spec.target_l0 - 1) ** 2
        below = self.mean((theta - z).clamp(min=0) * self.norm_F)
        return (
            self.error(self.decode(codes))
            + self.warmth(step) * spec.coefficient * penalty
            + spec.pre_act_coefficient * below
        )


def check(spec: Any, layout: PairLayout, dead: list[int], step: int) -> None:
    weights, batch = weights_of(spec, layout), batch_of(layout)
    losses = objective_of(spec, layout).losses(weights, batch, dead_latents(*dead), step)
    losses.total.backward()

    doubles = {name: weight.detach().double().requires_grad_() for name, weight in weights.items()}
    x_BD = batch.x_BD.double()
    y_BE = x_BD if layout.reconstructs_input else batch.y_BE.double()
    expected = getattr(Reference(spec, layout, doubles, x_BD, y_BE), spec.kind)(dead, step)
    expected.backward()

    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-5)
    for name, weight in weights.items():
        assert weight.grad is not None, name
        assert doubles[name].grad.abs().max() > 1e-4, f"{name} should be learning here"
        torch.testing.assert_close(weight.grad.double(), doubles[name].grad, rtol=1e-4, atol=2e-6, msg=name)


NAMES = list(specs())
SELECTING = ("topk", "batch_topk", "matryoshka")


@pytest.mark.parametrize("target", LAYOUTS)
@pytest.mark.parametrize("decoder_norm", ["unit", "free"])
@pytest.mark.parametrize("dead", DEAD)
@pytest.mark.parametrize("name", SELECTING)
def test_selecting_architectures(name: str, dead: str, decoder_norm: str, target: str) -> None:
    check(specs(decoder_norm=decoder_norm)[name], LAYOUTS[target], DEAD[dead], step=3)


@pytest.mark.parametrize("target", LAYOUTS)
@pytest.mark.parametrize("decoder_norm", ["unit", "free"])
@pytest.mark.parametrize("dense_share", [0.0, 1.0], ids=["dense", "sparse"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in SELECTING])
def test_penalised_architectures(
    name: str, dense_share: float, decoder_norm: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "DENSE_SHARE", dense_share)
    for step in (1, 60):
        check(specs(decoder_norm=decoder_norm)[name], LAYOUTS[target], [], step)
