"""The objective of BatchTopK (Bussmann et al. 2024), with the auxiliary loss of Gao et al. (2024, A.2).

Shape suffixes: B rows of this worker, D width of the activations, F latents, K active codes, N dead latents.
"""

from dataclasses import dataclass

import torch

from thresher.dictionary.batch_selection import BatchTopKSelector
from thresher.latents.kernels import SparseCodes, sparse_decode, sparse_encode


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
        self._z_BF = torch.empty(0, 0)

    def losses(self, weights: Weights, x_BD: torch.Tensor, dead_F: torch.Tensor, global_rows: int) -> Losses:
        codes = self._selector.select(self._preactivations(weights, x_BD), global_rows)
        values_K = sparse_encode(x_BD, weights.W_enc_FD, weights.b_enc_F, weights.b_dec_D, codes)
        x_hat_BD = sparse_decode(codes.with_values(values_K), weights.W_dec_FD) + weights.b_dec_D
        residual_BD = x_BD - x_hat_BD
        normaliser = global_rows * self.variance
        return Losses(
            reconstruction=residual_BD.square().sum() / normaliser,
            auxiliary=self._dead_error(weights, x_BD, residual_BD.detach(), dead_F) / normaliser,
            codes=codes,
        )

    def _dead_error(
        self, weights: Weights, x_BD: torch.Tensor, residual_BD: torch.Tensor, dead_F: torch.Tensor
    ) -> torch.Tensor:
        """min(N / k_aux, 1) * |residual - residual_hat|^2, summed.

        residual_hat is decoded, without b_dec, from the k_aux largest dead latents of each row.
        """
        dead_N = dead_F.nonzero().squeeze(1)
        num_dead = dead_N.numel()
        if num_dead == 0:
            return x_BD.new_zeros(())
        z_BN = torch.addmm(weights.b_enc_F[dead_N], x_BD - weights.b_dec_D, weights.W_enc_FD[dead_N].T)
        if num_dead > self._k_aux:
            top = z_BN.topk(self._k_aux, dim=1, sorted=False)
            z_BN = torch.zeros_like(z_BN).scatter(1, top.indices, top.values)
        residual_hat_BD = z_BN.relu() @ weights.W_dec_FD[dead_N]
        return min(num_dead / self._k_aux, 1.0) * (residual_BD - residual_hat_BD).square().sum()

    @torch.no_grad()
    def _preactivations(self, weights: Weights, x_BD: torch.Tensor) -> torch.Tensor:
        shape = (x_BD.shape[0], weights.W_enc_FD.shape[0])
        if self._z_BF.shape != shape:
            self._z_BF = x_BD.new_empty(shape)
        return torch.addmm(weights.b_enc_F, x_BD - weights.b_dec_D, weights.W_enc_FD.T, out=self._z_BF)
