"""Pre-activations that a penalty architecture's loss depends on: those above a floor, sparse where they are few.

Shape suffixes: B rows of this worker, D width of the input, E width of the output, F latents, K candidates.
"""

from dataclasses import dataclass

import torch

from thresher.latents.kernels import (
    Preactivations,
    SparseCodes,
    estimated_share_above,
    of_latents,
    select_above,
    sparse_decode,
    sparse_encode,
)

DENSE_SHARE = 1 / 8
"""Share of the entries above which dense matrices are faster than sparse codes on the machines measured."""


@dataclass(frozen=True)
class Candidates:
    """Differentiable pre-activations, in one of two forms with the same meaning: every entry in a matrix [B, F], or
    those of `codes` in a vector [K]."""

    z: torch.Tensor
    codes: SparseCodes | None

    def of_latents(self, t_F: torch.Tensor) -> torch.Tensor:
        """A value a latent, in the shape of z."""
        return t_F.expand_as(self.z) if self.codes is None else of_latents(self.codes, t_F)

    def decode(self, values: torch.Tensor, W_dec_FE: torch.Tensor) -> torch.Tensor:
        """y_hat_BE of codes in the shape of z, without bias."""
        if self.codes is None:
            return values @ W_dec_FE
        return sparse_decode(self.codes.with_values(values), W_dec_FE)

    def rows_active(self, values: torch.Tensor, num_latents: int) -> torch.Tensor:
        """num_active_F: rows in which each latent's value is positive."""
        if self.codes is None:
            return (values > 0).sum(dim=0)
        return torch.bincount(self.codes.latents[values > 0], minlength=num_latents)


def candidates_above(
    floor: torch.Tensor | float,
    x_BD: torch.Tensor,
    W_enc_FD: torch.Tensor,
    b_enc_F: torch.Tensor,
    centre_D: torch.Tensor,
) -> Candidates:
    """Entries of z = W_enc (x - centre) + b_enc that exceed a floor (one, or one per latent), and maybe others.

    Args:
        floor: what entries exceed on which the loss depends.
        x_BD: rows, not centred.
        W_enc_FD: encoder, as everything below differentiable.
        b_enc_F: its bias.
        centre_D: taken from rows.
    """
    floor_F = torch.as_tensor(floor, device=b_enc_F.device, dtype=b_enc_F.dtype).expand_as(b_enc_F)
    z = Preactivations((x_BD - centre_D).detach(), W_enc_FD, b_enc_F)
    if estimated_share_above(z, floor_F) > DENSE_SHARE:
        return Candidates(torch.addmm(b_enc_F, x_BD - centre_D, W_enc_FD.T), None)
    codes = select_above(z, floor_F)
    return Candidates(sparse_encode(x_BD, W_enc_FD, b_enc_F, centre_D, codes), codes)
