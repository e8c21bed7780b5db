"""Sparse codes' part in the graph of gradients: decode and encode, in proportion to the active latents.

The gradient of the decoder is a decode with the roles of rows and latents exchanged, after sorting the codes by latent
(as in Gao et al. 2024, appendix D.2). The gradient of the codes is one dot product per active latent.

Shape suffixes: B rows, D width of the input, E width of the output, F latents, K active codes over all rows.
"""

from typing import Any

import torch

from thresher.latents.kernels.codes import LatentOrder, SparseCodes
from thresher.latents.kernels.dispatch import kernels_for


def sparse_decode(codes: SparseCodes, W_dec_FE: torch.Tensor) -> torch.Tensor:
    """y_BE = sum over a row's codes of value * W_dec[latent]; differentiable in values and W_dec."""
    out: torch.Tensor = _SparseDecode.apply(codes.values, W_dec_FE, codes)  # type: ignore[no-untyped-call]
    return out


def sparse_encode(
    x_BD: torch.Tensor,
    W_enc_FD: torch.Tensor,
    b_enc_F: torch.Tensor,
    centre_D: torch.Tensor | None,
    codes: SparseCodes,
) -> torch.Tensor:
    """values_K of chosen codes as a differentiable function of the encoder's weights.

    `codes` were chosen from z = W_enc (x - centre) + b_enc: their values are taken as computed there, and only
    the gradient with respect to W_enc, b_enc and the centre is added. Without a centre x is taken as it is.
    """
    out: torch.Tensor = _SparseEncode.apply(x_BD, W_enc_FD, b_enc_F, centre_D, codes)  # type: ignore[no-untyped-call]
    return out


def of_latents(codes: SparseCodes, t_F: torch.Tensor) -> torch.Tensor:
    """t_K: a number of each latent, for each code; differentiable. As t_F[codes.latents], whose gradient is slow."""
    out: torch.Tensor = _OfLatents.apply(t_F, codes)  # type: ignore[no-untyped-call]
    return out


def weight_gradient(codes: SparseCodes, rows_BD: torch.Tensor, num_latents: int) -> torch.Tensor:
    """g_FD[f] = sum over the codes of latent f of value * rows[row of the code]."""
    order = latent_order(codes, num_latents)
    return kernels_for(rows_BD.device).sum_vectors(
        order.starts, order.row_K, codes.values[order.code_K], rows_BD
    )


def latent_order(codes: SparseCodes, num_latents: int) -> LatentOrder:
    """The codes sorted by latent, computed once."""
    if num_latents not in codes.orders:
        kernels = kernels_for(codes.latents.device)
        codes.orders[num_latents] = kernels.order_by_latent(codes, num_latents)
    return codes.orders[num_latents]


class _SparseDecode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values_K: torch.Tensor, W_dec_FE: torch.Tensor, codes: SparseCodes) -> torch.Tensor:
        values_K, W_dec_FE = values_K.detach(), W_dec_FE.detach()
        ctx.codes = codes.with_values(values_K)
        ctx.save_for_backward(W_dec_FE)
        return kernels_for(W_dec_FE.device).sum_vectors(codes.row_offsets, codes.latents, values_K, W_dec_FE)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        grad_BE = grads[0].contiguous()
        (W_dec_FE,) = ctx.saved_tensors
        codes: SparseCodes = ctx.codes
        grad_values_K = grad_W_dec_FE = None
        if ctx.needs_input_grad[0]:
            kernels = kernels_for(grad_BE.device)
            grad_values_K = kernels.dot_vectors(codes.row_offsets, codes.latents, grad_BE, W_dec_FE)
        if ctx.needs_input_grad[1]:
            grad_W_dec_FE = weight_gradient(codes, grad_BE, W_dec_FE.shape[0])
        return grad_values_K, grad_W_dec_FE, None


class _SparseEncode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_BD: torch.Tensor,
        W_enc_FD: torch.Tensor,
        b_enc_F: torch.Tensor,
        centre_D: torch.Tensor | None,
        codes: SparseCodes,
    ) -> torch.Tensor:
        ctx.codes = codes
        ctx.save_for_backward(x_BD, W_enc_FD, centre_D)
        return codes.values.clone()

    @staticmethod
    def backward(
        ctx: Any, *grads: torch.Tensor
    ) -> tuple[None, torch.Tensor, torch.Tensor, torch.Tensor | None, None]:
        (grad_values_K,) = grads
        x_BD, W_enc_FD, centre_D = ctx.saved_tensors
        codes: SparseCodes = ctx.codes
        order, kernels = latent_order(codes, W_enc_FD.shape[0]), kernels_for(x_BD.device)
        sorted_K = grad_values_K[order.code_K]
        grad_b_enc_F = kernels.sum_values(order.starts, sorted_K)
        centred_BD = x_BD if centre_D is None else x_BD - centre_D
        grad_W_enc_FD = kernels.sum_vectors(order.starts, order.row_K, sorted_K, centred_BD)
        grad_centre_D = -(grad_b_enc_F @ W_enc_FD) if ctx.needs_input_grad[3] else None
        return None, grad_W_enc_FD, grad_b_enc_F, grad_centre_D, None


class _OfLatents(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t_F: torch.Tensor, codes: SparseCodes) -> torch.Tensor:
        ctx.codes, ctx.num_latents = codes, t_F.numel()
        return t_F[codes.latents]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        order = latent_order(ctx.codes, ctx.num_latents)
        return kernels_for(grads[0].device).sum_values(order.starts, grads[0][order.code_K]), None
