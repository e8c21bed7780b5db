"""Sparse kernels: the work of a dictionary in proportion to its active latents, never to all of them.

A decode is a weighted sum of decoder rows per activation row: `embedding_bag`. The gradient of the decoder is
the same sum with the roles of rows and latents exchanged, after sorting the codes by latent (as in Gao et al.
2024, appendix D.2). The gradient of the codes is one dot product per active latent.

Shape suffixes: B rows, D width of the activations, F latents, K active codes over all rows.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

SUM_MODE = 0  # embedding_bag's enumeration in ATen


@dataclass(frozen=True)
class SparseCodes:
    """Active latents of a batch of rows, in compressed sparse row form, all int64 and float32.

    Row b's codes lie at `row_offsets[b]:row_offsets[b + 1]` of `latents` (ascending) and `values` (positive).
    """

    row_offsets: torch.Tensor
    latents: torch.Tensor
    values: torch.Tensor

    @property
    def num_rows(self) -> int:
        return self.row_offsets.numel() - 1

    def row_of_code(self) -> torch.Tensor:
        """rows_K: which row each code belongs to."""
        return torch.repeat_interleave(
            torch.arange(self.num_rows, device=self.latents.device),
            self.row_offsets.diff(),
            output_size=self.latents.numel(),
        )

    def with_values(self, values_K: torch.Tensor) -> "SparseCodes":
        return SparseCodes(self.row_offsets, self.latents, values_K)


def codes_above(z_BF: torch.Tensor, threshold: torch.Tensor | float) -> SparseCodes:
    """Entries of contiguous pre-activations that exceed a threshold (one, or one per latent)."""
    flat_K = torch.nonzero((z_BF > threshold).view(-1)).squeeze(1)
    return codes_at(z_BF, flat_K)


def codes_at(z_BF: torch.Tensor, flat_K: torch.Tensor) -> SparseCodes:
    """Entries of contiguous pre-activations at ascending flat indices."""
    num_rows, num_latents = z_BF.shape
    starts = torch.arange(num_rows + 1, device=z_BF.device) * num_latents
    return SparseCodes(
        row_offsets=torch.searchsorted(flat_K, starts),
        latents=flat_K % num_latents,
        values=z_BF.view(-1)[flat_K],
    )


def sparse_decode(codes: SparseCodes, W_dec_FD: torch.Tensor) -> torch.Tensor:
    """x_BD = sum over a row's codes of value * W_dec[latent]; differentiable in values and W_dec."""
    out: torch.Tensor = _SparseDecode.apply(codes.values, W_dec_FD, codes)  # type: ignore[no-untyped-call]
    return out


def sparse_encode(
    x_BD: torch.Tensor,
    W_enc_FD: torch.Tensor,
    b_enc_F: torch.Tensor,
    b_dec_D: torch.Tensor,
    codes: SparseCodes,
) -> torch.Tensor:
    """values_K of chosen codes as a differentiable function of the encoder's weights.

    `codes` were chosen from z = W_enc (x - b_dec) + b_enc: their values are taken as computed there, and only
    the gradient with respect to W_enc, b_enc and b_dec is added.
    """
    out: torch.Tensor = _SparseEncode.apply(x_BD, W_enc_FD, b_enc_F, b_dec_D, codes)  # type: ignore[no-untyped-call]
    return out


def weight_gradient(codes: SparseCodes, rows_BD: torch.Tensor, num_latents: int) -> torch.Tensor:
    """g_FD[f] = sum over the codes of latent f of value * rows[row of the code]."""
    sorted_K, order_K = torch.sort(codes.latents, stable=True)
    starts_F = torch.searchsorted(sorted_K, torch.arange(num_latents + 1, device=sorted_K.device))
    return functional.embedding_bag(
        codes.row_of_code()[order_K],
        rows_BD,
        starts_F,
        per_sample_weights=codes.values[order_K],
        mode="sum",
        include_last_offset=True,
    )


class _SparseDecode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values_K: torch.Tensor, W_dec_FD: torch.Tensor, codes: SparseCodes) -> torch.Tensor:
        ctx.codes = codes.with_values(values_K.detach())
        ctx.save_for_backward(W_dec_FD)
        return functional.embedding_bag(
            codes.latents,
            W_dec_FD,
            codes.row_offsets,
            per_sample_weights=values_K,
            mode="sum",
            include_last_offset=True,
        )

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        (grad_BD,) = grads
        (W_dec_FD,) = ctx.saved_tensors
        codes: SparseCodes = ctx.codes
        grad_values_K = torch.ops.aten._embedding_bag_per_sample_weights_backward(
            grad_BD, W_dec_FD, codes.latents, codes.row_offsets[:-1], codes.row_of_code(), SUM_MODE
        )
        return grad_values_K, weight_gradient(codes, grad_BD, W_dec_FD.shape[0]), None


class _SparseEncode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_BD: torch.Tensor,
        W_enc_FD: torch.Tensor,
        b_enc_F: torch.Tensor,
        b_dec_D: torch.Tensor,
        codes: SparseCodes,
    ) -> torch.Tensor:
        ctx.codes = codes
        ctx.save_for_backward(x_BD, W_enc_FD, b_dec_D)
        return codes.values.clone()

    @staticmethod
    def backward(
        ctx: Any, *grads: torch.Tensor
    ) -> tuple[None, torch.Tensor, torch.Tensor, torch.Tensor, None]:
        (grad_values_K,) = grads
        x_BD, W_enc_FD, b_dec_D = ctx.saved_tensors
        codes: SparseCodes = ctx.codes.with_values(grad_values_K)
        num_latents = W_enc_FD.shape[0]
        grad_b_enc_F = torch.zeros(num_latents, dtype=x_BD.dtype, device=x_BD.device)
        grad_b_enc_F.index_add_(0, codes.latents, grad_values_K)
        grad_W_enc_FD = weight_gradient(codes, x_BD, num_latents)
        grad_W_enc_FD.addr_(grad_b_enc_F, b_dec_D, alpha=-1)
        return None, grad_W_enc_FD, grad_b_enc_F, -(grad_b_enc_F @ W_enc_FD), None
