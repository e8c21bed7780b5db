"""AuxK: dead latents learn to model what the others leave (Gao et al. 2024, A.2).

Shape suffixes: B rows of this worker, D width of the input, E width of the output, F latents, N dead latents.
"""

import torch

from thresher.dictionary.architectures.objective import Objective, Weights
from thresher.dictionary.architectures.spec import SelectionSpec
from thresher.dictionary.batch import Batch


class AuxiliaryLoss:
    """min(N / k_aux, 1) * |residual - residual_hat|^2, summed over rows and normalised as every loss.

    residual_hat is decoded, without b_dec, from the k_aux largest dead latents of each row, weighted by decoder
    norms. The residual is a constant: gradients reach the encoder and decoder of dead latents alone.
    """

    def __init__(self, spec: SelectionSpec, objective: Objective) -> None:
        self._objective = objective
        self._k_aux = spec.k_aux or max(1, objective.problem.layout.d_in // 2)

    def __call__(
        self, weights: Weights, batch: Batch, residual_BE: torch.Tensor, dead_F: torch.Tensor
    ) -> torch.Tensor:
        dead_N = dead_F.nonzero().squeeze(1)
        num_dead = dead_N.numel()
        if num_dead == 0:
            return residual_BE.new_zeros(())
        centred_BD = batch.x_BD - self._objective.centre(weights)
        z_BN = torch.addmm(weights["b_enc"][dead_N], centred_BD, weights["W_enc"][dead_N].T)
        if num_dead > self._k_aux:
            weighted_BN = z_BN.detach() * self._objective.norms(weights).detach()[dead_N]
            chosen = weighted_BN.topk(self._k_aux, dim=1, sorted=False).indices
            z_BN = torch.zeros_like(z_BN).scatter(1, chosen, z_BN.gather(1, chosen))
        residual_hat_BE = z_BN.relu() @ weights["W_dec"][dead_N]
        error = (residual_BE.detach() - residual_hat_BE).square().sum()
        return min(num_dead / self._k_aux, 1.0) * error / self._objective.normaliser
