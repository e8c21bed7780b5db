"""The objective of dictionaries whose largest codes are the active ones, whichever rule picks them."""

from abc import abstractmethod

import torch

from thresher.activations.row_pairs import RowPairs
from thresher.dictionary.architectures.auxiliary import AuxiliaryLoss
from thresher.dictionary.architectures.objective import Losses, Objective, Problem, Weights, rows_active
from thresher.dictionary.architectures.spec import SelectionSpec
from thresher.latents.kernels import Preactivations, SparseCodes


class LargestCodesObjective(Objective):
    """Fraction of variance unexplained, plus aux_coefficient times that of the residual by dead latents."""

    ranks_latents = True

    def __init__(self, spec: SelectionSpec, problem: Problem) -> None:
        super().__init__(problem, unit_norm=spec.decoder_norm == "unit")
        self._aux_coefficient = spec.aux_coefficient
        self._auxiliary = AuxiliaryLoss(spec, self)

    @abstractmethod
    def choose(self, z: Preactivations) -> SparseCodes:
        """The active ones of this worker's rows."""

    def losses(self, weights: Weights, batch: RowPairs, dead_F: torch.Tensor, step: int) -> Losses:
        codes = self.chosen_codes(weights, batch.x_BD, self.choose)
        residual_BE = batch.y_BE - self.reconstruction(weights, batch, codes)
        reconstruction = residual_BE.square().sum() / self.normaliser
        auxiliary = self._auxiliary(weights, batch, residual_BE, dead_F)
        return Losses(
            total=reconstruction + self._aux_coefficient * auxiliary,
            reconstruction=reconstruction,
            sparsity=torch.zeros_like(reconstruction),
            auxiliary=auxiliary,
            residual_BE=residual_BE.detach(),
            num_active_F=rows_active(codes, dead_F.numel()),
        )
