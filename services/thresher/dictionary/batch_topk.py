"""The objective of BatchTopK (Bussmann et al. 2024), with the auxiliary loss of Gao et al. (2024, A.2).

Shape suffixes: B rows of this worker, D width of the activations, F latents, K active codes, N dead latents.
"""

from dataclasses import dataclass

import torch

from thresher.dictionary.batch_selection import BatchTopKSelector
from thresher.latents.kernels import (
    Preactivations,
    SparseCodes,
    select_largest_of_rows,
    sparse_decode,
    sparse_encode,
)


@dataclass
class Weights:
    """Of a dictionary in training; decoder rows have unit norm. z = W_enc (x - b_dec) + b_enc."""

    W_enc_FD: torch.Tensor
    b_enc_F: torch.Tensor
    W_dec_FD: torch.Tensor
    b_dec_D: torch.Tensor

    def named(self) -> dict[str, torch.Tensor]:
        return {"W_enc": self.W_enc_FD, "b_enc": self.b_enc_F, "W_dec": self.W_dec_FD, "b_dec": self.b_dec_D}


@dataclass(frozen=True)
class Losses:
    reconstruction: torch.Tensor
    """This worker's share of sum |x - x_hat|^2 / (rows * variance)."""
    auxiliary: torch.Tensor
    """This worker's share of the dead latents' loss, without its coefficient."""
    codes: SparseCodes


class BatchTopKObjective:
    """Fraction of variance unexplained, plus that of the residual by dead latents.

    Both are sums over this worker's rows divided by the rows of the global batch and by a variance fixed
    for the run, so that the gradients of all workers add up to those of one worker with the whole batch.

    Args:
        k: mean active latents a row.
        k_aux: dead latents a row in the auxiliary loss.
        variance: mean |x - mean(x)|^2 of a row.
    """

    def __init__(self, k: int, k_aux: int, variance: float) -> None:
        self._selector = BatchTopKSelector(k)
        self._k_aux, self.variance = k_aux, variance

    def losses(self, weights: Weights, x_BD: torch.Tensor, dead_F: torch.Tensor, global_rows: int) -> Losses:
        preactivations = Preactivations(x_BD - weights.b_dec_D.detach(), weights.W_enc_FD, weights.b_enc_F)
        codes = self._selector.select(preactivations, global_rows)
        values_K = sparse_encode(x_BD, weights.W_enc_FD, weights.b_enc_F, weights.b_dec_D, codes)
        x_hat_BD = sparse_decode(codes.with_values(values_K), weights.W_dec_FD) + weights.b_dec_D
        residual_BD = x_BD - x_hat_BD
        normaliser = global_rows * self.variance
        return Losses(
            reconstruction=residual_BD.square().sum() / normaliser,
            auxiliary=self._dead_error(weights, x_BD, preactivations, residual_BD.detach(), dead_F)
            / normaliser,
            codes=codes,
        )

    def _dead_error(
        self,
        weights: Weights,
        x_BD: torch.Tensor,
        preactivations: Preactivations,
        residual_BD: torch.Tensor,
        dead_F: torch.Tensor,
    ) -> torch.Tensor:
        """min(N / k_aux, 1) * |residual - residual_hat|^2, summed.

        residual_hat is decoded, without b_dec, from the k_aux largest dead latents of each row.
        """
        dead_N = dead_F.nonzero().squeeze(1)
        num_dead = dead_N.numel()
        if num_dead == 0:
            return x_BD.new_zeros(())
        codes = select_largest_of_rows(preactivations, self._k_aux, among_N=dead_N)
        values_K = sparse_encode(x_BD, weights.W_enc_FD, weights.b_enc_F, weights.b_dec_D, codes)
        residual_hat_BD = sparse_decode(codes.with_values(values_K), weights.W_dec_FD)
        return min(num_dead / self._k_aux, 1.0) * (residual_BD - residual_hat_BD).square().sum()
