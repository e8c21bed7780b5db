"""The objective of Matryoshka (Bussmann et al. 2025): BatchTopK whose first latents reconstruct alone, too.

Shape suffixes: B rows of this worker, E width of the output, K active codes, P prefixes.
"""

import torch

from thresher.activations.row_pairs import RowPairs
from thresher.dictionary.architectures.auxiliary import AuxiliaryLoss
from thresher.dictionary.architectures.objective import Losses, Objective, Problem, Weights, rows_active
from thresher.dictionary.architectures.spec import MatryoshkaSpec
from thresher.dictionary.training.batch_selection import BatchTopKSelector
from thresher.latents.kernels import SparseCodes, sparse_decode


class MatryoshkaObjective(Objective):
    """Weighted mean, taken once, of the prefixes' fractions of variance unexplained, plus aux_coefficient times that of
    the whole dictionary's residual by dead latents.

    Codes are chosen once, from the whole dictionary; a prefix has those of its latents.
    """

    ranks_latents = True

    def __init__(self, spec: MatryoshkaSpec, problem: Problem) -> None:
        super().__init__(problem, unit_norm=spec.decoder_norm == "unit")
        self._spec = spec
        self._selector = BatchTopKSelector(spec.k)
        self._auxiliary = AuxiliaryLoss(spec, self)
        weights_P = torch.tensor(spec.prefix_weights or [1.0] * len(spec.widths))
        self._shares_P = weights_P / weights_P.sum()

    def losses(self, weights: Weights, batch: RowPairs, dead_F: torch.Tensor, step: int) -> Losses:
        codes = self.chosen_codes(
            weights, batch.x_BD, lambda z: self._selector.select(z, self.problem.batch_rows)
        )
        parts_PBE = decoded_by_part(codes, weights["W_dec"], self._spec.widths)
        rest_BE = batch.y_BE - self.completed(weights, batch, torch.zeros_like(batch.y_BE))
        residual_PBE = rest_BE - parts_PBE.cumsum(dim=0)
        loss_P = residual_PBE.square().sum(dim=(1, 2)) / self.normaliser
        auxiliary = self._auxiliary(weights, batch, residual_PBE[-1], dead_F)
        nested = self._shares_P.to(loss_P) @ loss_P
        return Losses(
            total=nested + self._spec.aux_coefficient * auxiliary,
            reconstruction=loss_P[-1],
            sparsity=torch.zeros_like(nested),
            auxiliary=auxiliary,
            residual_BE=residual_PBE[-1].detach(),
            num_active_F=rows_active(codes, dead_F.numel()),
        )


def decoded_by_part(codes: SparseCodes, W_dec_FE: torch.Tensor, widths: tuple[int, ...]) -> torch.Tensor:
    """parts_PBE: what the latents between one prefix and the next add to each row. Each code is decoded once."""
    edges_P = torch.tensor(widths, device=codes.latents.device)
    part_K = torch.searchsorted(edges_P, codes.latents, right=True)
    row_K = part_K * codes.num_rows + codes.row_of_code()
    row_K, order_K = torch.sort(row_K, stable=True)
    offsets = torch.searchsorted(row_K, torch.arange(len(widths) * codes.num_rows + 1, device=row_K.device))
    parts = SparseCodes(offsets, codes.latents[order_K], codes.values[order_K])
    return sparse_decode(parts, W_dec_FE).view(len(widths), codes.num_rows, W_dec_FE.shape[1])
