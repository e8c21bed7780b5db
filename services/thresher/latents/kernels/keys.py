"""Approximate selection keys from a fast GEMM, and how far they can be from exact ones.

The key of latent f on row b is w_f * (x_b . W_f + b_f), with x centred and w a weight a latent (1, or norms of the
decoder). The GEMM runs in bfloat16 where the machine is fast at it. Its keys are off by at most

    |x_b| |V_f - V'_f| + |x_b - x'_b| |V'_f|      rounded operands, by Cauchy and Schwarz: V = w W, ' is rounded
    + (2 D + 16) 2^-24 |x_b| |V_f|                the sums in float32, here and in the exact keys
    + u |x'_b . V'_f| / (1 - u)                   the rounded result; u is 2^-8 in bfloat16
    + 2^-22 max_f (|b_f| + |t_f|)                 bias and threshold, added in float32

so that whatever could be among the largest is found and computed exactly (selection.py).

Shape suffixes: B rows, D width of the input, F latents.
"""

import math
from dataclasses import dataclass
from functools import cache
from threading import local

import torch

from thresher.latents.kernels.dispatch import kernels_for
from thresher.latents.kernels.memory import empty
from thresher.runtime.cpu_features import fast_dtype

ROUNDOFF = {torch.bfloat16: 2.0**-8 + 2.0**-21, torch.float32: 2.0**-21}
"""Relative, of a GEMM's result and of up to eight operations in float32 on a key."""
SLACK = 1.001
"""For the rounding of the bounds themselves."""
_buffers = local()


@dataclass(frozen=True)
class Preactivations:
    """z_BF = x W_enc^T + b_enc, not computed until a selection asks for some of them; no gradient passes.

    Keys, by which a selection chooses, are z times `weights_F` (positive), where given.
    """

    x_BD: torch.Tensor
    """Centred as the dictionary centres its inputs, float32."""
    W_enc_FD: torch.Tensor
    b_enc_F: torch.Tensor
    weights_F: torch.Tensor | None = None

    def of_rows(self, rows: slice) -> "Preactivations":
        """Of some rows alone."""
        return Preactivations(self.x_BD[rows], self.W_enc_FD, self.b_enc_F, self.weights_F)

    def of_latents(self, latents_N: torch.Tensor) -> "Preactivations":
        """Of some latents alone."""
        weights_N = None if self.weights_F is None else self.weights_F[latents_N]
        return Preactivations(self.x_BD, self.W_enc_FD[latents_N], self.b_enc_F[latents_N], weights_N)

    def weighted(self) -> tuple[torch.Tensor, torch.Tensor]:
        """W_FD and b_F of the keys."""
        W_FD, b_F = self.W_enc_FD.detach(), self.b_enc_F.detach()
        if self.weights_F is None:
            return W_FD, b_F
        weights_F = self.weights_F.detach()
        return W_FD * weights_F.unsqueeze(1), b_F * weights_F


class ApproximateKeys:
    """The GEMM of a batch, row piece by row piece, with its bounds.

    Args:
        preactivations: of the batch.
        shift_F: subtracted from the keys (thresholds).
    """

    def __init__(self, preactivations: Preactivations, shift_F: torch.Tensor | None = None) -> None:
        W_FD, b_F = preactivations.weighted()
        x_BD = preactivations.x_BD.detach()
        self.bias_F = b_F.contiguous() if shift_F is None else b_F - shift_F
        kernels, dtype = kernels_for(x_BD.device), _gemm_dtype(x_BD.device.type)
        self._x_BD, norms_B, errors_B = kernels.rounded(x_BD.contiguous(), dtype)
        self._W_FD, norms_F, errors_F = kernels.rounded(W_FD.contiguous(), dtype)
        self._relative = ROUNDOFF[dtype] / (1 - ROUNDOFF[dtype]) * SLACK
        sums = (2 * x_BD.shape[1] + 16) * 2.0**-24
        operands_B = norms_B * (errors_F.max() + sums * norms_F.max()) + errors_B * (norms_F + errors_F).max()
        self.error_B = operands_B * SLACK + self._bias_error(b_F, shift_F)
        self.finite = bool(self.error_B.isfinite().all())
        """Whether rows and weights are; if not, there are no candidates."""
        if not self.finite:
            self.error_B.fill_(-torch.inf)

    def _bias_error(self, b_F: torch.Tensor, shift_F: torch.Tensor | None) -> torch.Tensor:
        shift = 0.0 if shift_F is None else shift_F.abs().max()
        return self.bias_F.abs().max() * self._relative + (b_F.abs().max() + shift) * 2.0**-22

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """keys_BF of some rows, without the bias, as the GEMM rounds them; the thread's next call overwrites them."""
        shape = (stop - start, self._W_FD.shape[0])
        return torch.mm(self._x_BD[start:stop], self._W_FD.T, out=_buffer(shape, self._W_FD))

    def at_least(self, keys: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        """The least that exact keys can be which are approximately (bias included) these or more."""
        return keys - keys.abs() * self._relative - error

    def at_most(self, keys: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        """The most that exact keys can be which are approximately (bias included) these or less."""
        return keys + keys.abs() * self._relative + error

    def floors(self, exact: torch.Tensor, error: torch.Tensor) -> torch.Tensor:
        """What approximate keys (bias included) reach wherever the exact ones reach `exact`."""
        rest = exact - error
        return torch.where(rest > 0, rest / (1 + self._relative), rest / (1 - self._relative))


def _buffer(shape: tuple[int, int], like: torch.Tensor) -> torch.Tensor:
    """Of this thread: memory that stays in cache is worth more than memory that is freed."""
    kept: torch.Tensor | None = getattr(_buffers, "keys", None)
    if (
        kept is None
        or kept.numel() < math.prod(shape)
        or (kept.dtype, kept.device) != (like.dtype, like.device)
    ):
        kept = (
            like.new_empty(math.prod(shape))
            if like.device.type != "cpu"
            else empty(math.prod(shape), dtype=like.dtype)
        )
        _buffers.keys = kept
    return kept[: math.prod(shape)].view(shape)


@cache
def _gemm_dtype(device_type: str) -> torch.dtype:
    if device_type == "cuda":
        # Partial sums rounded to bfloat16 would break the bounds.
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        return torch.bfloat16
    return torch.bfloat16 if device_type == "cpu" and fast_dtype() == "bfloat16" else torch.float32
