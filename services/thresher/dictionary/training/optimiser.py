"""Adam over named weights, each in one sweep over its memory.

A step reads weight, gradient and moments and writes all but the gradient: 28 bytes an entry, which is its limit. Rows
of latents that no code touched still move, by the momentum that they have, so the sweep is dense: leaving them out
would be another optimiser.

Shape suffixes: R rows, C columns.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from thresher.latents.kernels.dispatch import is_compiled

MOMENTS = ("exp_avg", "exp_avg_sq")  # Adam's names for them
SMALLEST_NORM = 1e-12
BYTES_AN_ENTRY = 28


def initial_moments(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Zeros, by `{moment}.{weight}`."""
    return {
        f"{moment}.{name}": torch.zeros_like(weight) for name, weight in weights.items() for moment in MOMENTS
    }


class Adam:
    """Adam (Kingma and Ba 2015), in place on weights and moments.

    Rows of some matrices stay at norm 1: the part of the gradient along a row is taken out before the moments see
    it, and the row is scaled back after the step. With several blocks of columns the norm of a row is the sum of
    its blocks' norms (crosscoders).

    Args:
        weights: by name, float32; `grad` is read at every step.
        moments: `{moment}.{name}` of each.
        num_steps: steps done.
        betas: decay of the moments.
        epsilon: term of the denominator.
        unit_norm: widths of the blocks of columns, of each matrix whose rows stay at norm 1.
        rate_factors: what the learning rate of some weights is multiplied by.
    """

    def __init__(
        self,
        weights: Mapping[str, torch.Tensor],
        moments: Mapping[str, torch.Tensor],
        *,
        num_steps: int,
        betas: tuple[float, float],
        epsilon: float,
        unit_norm: Mapping[str, Sequence[int]],
        rate_factors: Mapping[str, float] | None = None,
    ) -> None:
        self._weights = dict(weights)
        self.moments = dict(moments)
        self._num_steps, self._betas, self._epsilon = num_steps, betas, epsilon
        self._unit_norm, self._rate_factors = dict(unit_norm), dict(rate_factors or {})

    def zero_grad(self) -> None:
        for weight in self._weights.values():
            weight.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Take one step on the weights' gradients."""
        self._num_steps += 1
        for name, weight in self._weights.items():
            assert weight.grad is not None
            exp_avg, exp_avg_sq = (self.moments[f"{moment}.{name}"] for moment in MOMENTS)
            # One row of a vector.
            matrices = [
                tensor.detach().view(-1 if weight.ndim > 1 else 1, weight.shape[-1])
                for tensor in (weight, weight.grad, exp_avg, exp_avg_sq)
            ]
            sweep = _compiled_sweep if is_compiled(weight.device) else _plain_sweep
            sweep(
                matrices,
                self._betas,
                self._epsilon,
                self._rates(learning_rate * self._rate_factors.get(name, 1.0)),
                self._unit_norm.get(name, ()),
            )

    def forget(self, name: str, latents_N: torch.Tensor) -> None:
        """Set the moments of some latents to zero."""
        for moment in MOMENTS:
            self.moments[f"{moment}.{name}"][latents_N] = 0

    def _rates(self, learning_rate: float) -> tuple[float, float]:
        """Step size and factor of the second moment's root, with both moments' biases corrected."""
        first, second = (1 - beta**self._num_steps for beta in self._betas)
        return learning_rate / first, 1 / math.sqrt(second)


def _compiled_sweep(
    matrices: list[torch.Tensor],
    betas: tuple[float, float],
    epsilon: float,
    rates: tuple[float, float],
    widths: Sequence[int],
) -> None:
    from thresher.dictionary.training.optimiser_loops import adam_rows
    from thresher.latents.kernels.threads import for_ranges

    edges = np.cumsum([0, *widths], dtype=np.int64)
    with np.errstate(over="ignore"):  # a rate beyond float32 makes the loss infinite, which ends the run
        scalars = [np.float32(value) for value in (*betas, *rates, epsilon)]
    arrays = (
        matrix.contiguous().numpy() if index == 1 else matrix.numpy() for index, matrix in enumerate(matrices)
    )
    for_ranges(adam_rows, matrices[0].shape[0], *arrays, *scalars, edges, np.float32(SMALLEST_NORM))


def _plain_sweep(
    matrices: list[torch.Tensor],
    betas: tuple[float, float],
    epsilon: float,
    rates: tuple[float, float],
    widths: Sequence[int],
) -> None:
    weight_RC, grad_RC, exp_avg, exp_avg_sq = matrices
    if widths:
        grad_RC = _tangent(grad_RC, weight_RC, widths)
    exp_avg.lerp_(grad_RC, 1 - betas[0])
    exp_avg_sq.mul_(betas[1]).addcmul_(grad_RC, grad_RC, value=1 - betas[1])
    step_size, root_scale = rates
    weight_RC.addcdiv_(exp_avg, exp_avg_sq.sqrt().mul_(root_scale).add_(epsilon), value=-step_size)
    if widths:
        norms_R1 = torch.stack(_block_norms(weight_RC, widths)).sum(dim=0)
        weight_RC.div_(norms_R1.clamp(min=SMALLEST_NORM))


def _tangent(grad_RC: torch.Tensor, weight_RC: torch.Tensor, widths: Sequence[int]) -> torch.Tensor:
    """The gradient without its part along the direction in which a row's norm grows."""
    blocks = zip(torch.split(weight_RC, list(widths), dim=1), _block_norms(weight_RC, widths), strict=True)
    normal_RC = torch.cat([block / norms_R1.clamp(min=SMALLEST_NORM) for block, norms_R1 in blocks], dim=1)
    return grad_RC - normal_RC * ((grad_RC * normal_RC).sum(dim=1, keepdim=True) / len(widths))


def _block_norms(weight_RC: torch.Tensor, widths: Sequence[int]) -> list[torch.Tensor]:
    blocks = torch.split(weight_RC, list(widths), dim=1)
    return [torch.linalg.vector_norm(block, dim=1, keepdim=True) for block in blocks]
