"""AuxK: dead latents learn to model what the others leave (Gao et al. 2024, A.2).

Shape suffixes: B rows of this worker, D width of the input, E width of the output, F latents, N dead latents.
"""

import torch

from thresher.activations.row_pairs import RowPairs
from thresher.dictionary.architectures.objective import Objective, Weights
from thresher.dictionary.architectures.spec import SelectionSpec
from thresher.latents.kernels import select_largest_of_rows, sparse_decode


class AuxiliaryLoss:
    """min(N / k_aux, 1) * |residual - residual_hat|^2, summed over rows and normalised as every loss.

    residual_hat is decoded, without b_dec, from the k_aux largest dead latents of each row, weighted by decoder
    norms. The residual is a constant: gradients reach the encoder and decoder of dead latents alone.
    """

    def __init__(self, spec: SelectionSpec, objective: Objective) -> None:
        self._objective = objective
        self._k_aux = spec.k_aux or max(1, objective.problem.layout.d_in // 2)

    def __call__(
        self, weights: Weights, batch: RowPairs, residual_BE: torch.Tensor, dead_F: torch.Tensor
    ) -> torch.Tensor:
        dead_N = dead_F.nonzero().squeeze(1)
        num_dead = dead_N.numel()
        if num_dead == 0:
            return residual_BE.new_zeros(())
        objective = self._objective
        z = objective.preactivations(weights, batch.x_BD)
        codes = select_largest_of_rows(z, self._k_aux, among_N=dead_N)
        residual_hat_BE = sparse_decode(
            objective.differentiable(weights, batch.x_BD, codes), weights["W_dec"]
        )
        error = (residual_BE.detach() - residual_hat_BE).square().sum()
        return min(num_dead / self._k_aux, 1.0) * error / self._objective.normaliser
