"""The objective of BatchTopK (Bussmann et al. 2024): the largest k codes a row, on average over the global batch.

Its threshold of inference is calibrated after training (threshold.py).
"""

import torch

from thresher.activations.row_pairs import RowPairs
from thresher.dictionary.architectures.auxiliary import AuxiliaryLoss
from thresher.dictionary.architectures.objective import Losses, Objective, Problem, Weights, rows_active
from thresher.dictionary.architectures.spec import BatchTopKSpec
from thresher.dictionary.training.batch_selection import BatchTopKSelector


class BatchTopKObjective(Objective):
    """Fraction of variance unexplained, plus aux_coefficient times that of the residual by dead latents."""

    ranks_latents = True

    def __init__(self, spec: BatchTopKSpec, problem: Problem) -> None:
        super().__init__(problem, unit_norm=spec.decoder_norm == "unit")
        self._spec = spec
        self._selector = BatchTopKSelector(spec.k)
        self._auxiliary = AuxiliaryLoss(spec, self)

    def losses(self, weights: Weights, batch: RowPairs, dead_F: torch.Tensor, step: int) -> Losses:
        codes = self.chosen_codes(
            weights, batch.x_BD, lambda z: self._selector.select(z, self.problem.batch_rows)
        )
        residual_BE = batch.y_BE - self.reconstruction(weights, batch, codes)
        reconstruction = residual_BE.square().sum() / self.normaliser
        auxiliary = self._auxiliary(weights, batch, residual_BE, dead_F)
        return Losses(
            total=reconstruction + self._spec.aux_coefficient * auxiliary,
            reconstruction=reconstruction,
            sparsity=torch.zeros_like(reconstruction),
            auxiliary=auxiliary,
            residual_BE=residual_BE.detach(),
            num_active_F=rows_active(codes, dead_F.numel()),
        )
