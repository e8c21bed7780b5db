"""Norms of decoder rows: what a latent adds to the reconstruction for each unit of its code.

With several output sites the norm of a row is the sum of its sites' norms (Lindsey et al. 2024, "Sparse crosscoders").

Shape suffixes: E width of the output, F latents, S output sites.
"""

from collections.abc import Sequence

import torch

SMALLEST_NORM = 1e-12


def decoder_norms(W_dec_FE: torch.Tensor, output_widths: Sequence[int]) -> torch.Tensor:
    """norms_F, differentiable."""
    return torch.stack([_norms(block) for block in torch.split(W_dec_FE, list(output_widths), dim=1)]).sum(
        dim=0
    )


@torch.no_grad()
def normalise(W_dec_FE: torch.Tensor, output_widths: Sequence[int]) -> torch.Tensor:
    """Scale rows to norm 1, in place."""
    return W_dec_FE.div_(decoder_norms(W_dec_FE, output_widths).clamp(min=SMALLEST_NORM).unsqueeze(1))


@torch.no_grad()
def remove_radial_part(
    grad_FE: torch.Tensor, W_dec_FE: torch.Tensor, output_widths: Sequence[int]
) -> torch.Tensor:
    """Take out of a gradient, in place, the direction in which the norm grows: what a step may not change."""
    if len(output_widths) == 1:
        return grad_FE.addcmul_(W_dec_FE, (grad_FE * W_dec_FE).sum(dim=1, keepdim=True), value=-1)
    blocks = torch.split(W_dec_FE, list(output_widths), dim=1)
    normal_FE = torch.cat(
        [block / _norms(block).clamp(min=SMALLEST_NORM).unsqueeze(1) for block in blocks], dim=1
    )
    squared_F1 = normal_FE.square().sum(dim=1, keepdim=True).clamp(min=SMALLEST_NORM)
    return grad_FE.addcmul_(normal_FE, (grad_FE * normal_FE).sum(dim=1, keepdim=True) / squared_F1, value=-1)


def _norms(W_FE: torch.Tensor) -> torch.Tensor:
    norms_F: torch.Tensor = torch.linalg.vector_norm(W_FE, dim=1)
    return norms_F
