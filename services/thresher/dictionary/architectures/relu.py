"""The objective of ReLU dictionaries (Bricken et al. 2023; weighted by decoder norms as in Conerly et al. 2024).

Shape suffixes: B rows of this worker, E width of the output, F latents.
"""

import torch

from thresher.activations.row_pairs import RowPairs
from thresher.dictionary.architectures.candidates import candidates_above
from thresher.dictionary.architectures.objective import Losses, Objective, Problem, Weights
from thresher.dictionary.architectures.schedules import annealed_p, warmed_up
from thresher.dictionary.architectures.spec import ReluSpec
from thresher.dictionary.training.collectives import sum_over_workers

SMALL_CODE = 1e-3
"""Taken from every code's power: below it, code^p has no more slope than here."""


class ReluObjective(Objective):
    """Fraction of variance unexplained, plus the penalty on codes times decoder norms."""

    def __init__(self, spec: ReluSpec, problem: Problem) -> None:
        super().__init__(problem, unit_norm=spec.decoder_norm == "unit")
        self._spec = spec

    def losses(self, weights: Weights, batch: RowPairs, dead_F: torch.Tensor, step: int) -> Losses:
        W_enc_FD, b_enc_F, centre_D = weights["W_enc"], weights["b_enc"], self.centre(weights)
        candidates = candidates_above(0.0, batch.x_BD, W_enc_FD, b_enc_F, centre_D)
        values = candidates.z.relu()
        decoded_BE = candidates.decode(values, weights["W_dec"])
        residual_BE = batch.y_BE - self.completed(weights, batch, decoded_BE)
        reconstruction = residual_BE.square().sum() / self.normaliser
        warmth = warmed_up(step, self.problem.num_steps, self._spec.sparsity_warmup_fraction)
        penalty = self._penalty(values * candidates.of_latents(self.norms(weights)), step)
        sparsity = warmth * self._spec.coefficient * penalty / self.normaliser
        return Losses(
            total=reconstruction + sparsity,
            reconstruction=reconstruction,
            sparsity=sparsity,
            auxiliary=torch.zeros_like(reconstruction),
            residual_BE=residual_BE.detach(),
            num_active_F=candidates.rows_active(values.detach(), dead_F.numel()),
        )

    def _penalty(self, codes: torch.Tensor, step: int) -> torch.Tensor:
        """Sum over codes, in units of their decoder rows."""
        match self._spec.penalty:
            case "l1":
                return codes.sum()
            case "tanh":
                return torch.tanh(self._spec.tanh_scale * codes).sum()
            case "p_annealed":
                return self._annealed(codes, step)

    def _annealed(self, codes: torch.Tensor, step: int) -> torch.Tensor:
        """sum of code^p, rescaled by a constant so that its value stays that of the L1 penalty while p falls.

        Karvonen et al. (2024) rescale from one p to the next by the codes of recent batches; for codes that keep their
        distribution, those factors multiply to this one, which needs no memory.
        """
        p = annealed_p(step, self.problem.num_steps, self._spec.p_anneal_start, self._spec.p_end)
        powers = ((codes + SMALL_CODE) ** p - SMALL_CODE**p).sum()
        sums = torch.stack([codes.sum(), powers]).detach()
        l1, lp = sum_over_workers(sums).unbind()
        rescaled: torch.Tensor = powers * (l1 / lp.clamp(min=SMALL_CODE))
        return rescaled
