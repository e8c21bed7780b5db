"""Gradients through jumps, by straight-through estimators (Rajamanoharan et al. 2024b, eq. 11 and 12).

Both take pre-activations, never codes after the jump, and are elementwise: any shape, the threshold of the same one.
"""

from typing import Any

import torch


def jump_relu(z: torch.Tensor, threshold: torch.Tensor, bandwidth: float) -> torch.Tensor:
    """z where z > threshold, else 0.

    Gradients: to z, 1 where z > threshold; to the threshold, -(threshold / bandwidth) where
    |z - threshold| < bandwidth / 2.
    """
    out: torch.Tensor = _JumpReLU.apply(z, threshold, bandwidth)  # type: ignore[no-untyped-call]
    return out


def step(z: torch.Tensor, threshold: torch.Tensor, bandwidth: float) -> torch.Tensor:
    """1 where z > threshold, else 0.

    Gradients: to z, none; to the threshold, -(1 / bandwidth) where |z - threshold| < bandwidth / 2.
    """
    out: torch.Tensor = _Step.apply(z, threshold, bandwidth)  # type: ignore[no-untyped-call]
    return out


class _JumpReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: torch.Tensor, threshold: torch.Tensor, bandwidth: float) -> torch.Tensor:
        ctx.save_for_backward(z, threshold)
        ctx.bandwidth = bandwidth
        return z * (z > threshold)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        (grad,) = grads
        z, threshold = ctx.saved_tensors
        near = (z - threshold).abs() < ctx.bandwidth / 2
        return grad * (z > threshold), grad * near * threshold * (-1 / ctx.bandwidth), None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: torch.Tensor, threshold: torch.Tensor, bandwidth: float) -> torch.Tensor:
        ctx.save_for_backward(z, threshold)
        ctx.bandwidth = bandwidth
        return (z > threshold).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[None, torch.Tensor, None]:
        (grad,) = grads
        z, threshold = ctx.saved_tensors
        near = (z - threshold).abs() < ctx.bandwidth / 2
        return None, grad * near * (-1 / ctx.bandwidth), None
