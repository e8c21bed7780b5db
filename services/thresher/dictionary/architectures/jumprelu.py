"""The objective of JumpReLU (Rajamanoharan et al. 2024b), with the penalties of Conerly et al. (2025).

Shape suffixes: B rows of this worker, D width of the input, F latents, N sampled rows.
"""

import torch

from thresher.activations.row_pairs import RowPairs
from thresher.dictionary.architectures.candidates import Candidates, candidates_above
from thresher.dictionary.architectures.objective import Losses, Objective, Problem, Weights
from thresher.dictionary.architectures.schedules import warmed_up
from thresher.dictionary.architectures.spec import JumpReluSpec
from thresher.dictionary.architectures.straight_through import jump_relu
from thresher.dictionary.architectures.straight_through import step as jump
from thresher.dictionary.training.collectives import sum_over_workers

MAX_THRESHOLD_ROWS = 2048
SMALLEST_THRESHOLD = 1e-6
RATE_WITH_TARGET = 10.0


class JumpReluObjective(Objective):
    """Fraction of variance unexplained, plus the penalty, plus pre_act_coefficient times the pre-activation loss.

    Thresholds are exp(log_threshold): positive, and learnt in proportion to their size.
    """

    def __init__(self, spec: JumpReluSpec, problem: Problem) -> None:
        super().__init__(problem, unit_norm=spec.decoder_norm == "unit")
        self._spec = spec
        self.rate_factors = {
            "log_threshold": spec.threshold_rate or (RATE_WITH_TARGET if spec.target_l0 else 1.0)
        }

    def losses(self, weights: Weights, batch: RowPairs, dead_F: torch.Tensor, step: int) -> Losses:
        threshold_F = weights["log_threshold"].exp()
        candidates = self._candidates(weights, batch.x_BD, threshold_F)
        threshold = candidates.of_latents(threshold_F)
        values = jump_relu(candidates.z, threshold, self._spec.bandwidth)
        decoded_BE = candidates.decode(values, weights["W_dec"])
        residual_BE = batch.y_BE - self.completed(weights, batch, decoded_BE)
        reconstruction = residual_BE.square().sum() / self.normaliser
        if self._spec.penalty == "l0":
            num_active = jump(candidates.z, threshold, self._spec.bandwidth).sum()
            penalty = self._l0_penalty(num_active / self.problem.batch_rows, batch.x_BD.shape[0])
        else:
            norms = candidates.of_latents(self.norms(weights))
            penalty = torch.tanh(self._spec.tanh_scale * values * norms).sum() / self.normaliser
        warmth = warmed_up(step, self.problem.num_steps, self._spec.sparsity_warmup_fraction)
        sparsity = warmth * self._spec.coefficient * penalty
        pre_act = reconstruction.new_zeros(())
        if self._spec.pre_act_coefficient:
            pre_act = self._below_threshold(weights, batch.x_BD, candidates, threshold_F)
        return Losses(
            total=reconstruction + sparsity + self._spec.pre_act_coefficient * pre_act,
            reconstruction=reconstruction,
            sparsity=sparsity,
            auxiliary=pre_act,
            residual_BE=residual_BE.detach(),
            num_active_F=candidates.rows_active(values.detach(), dead_F.numel()),
        )

    def _l0_penalty(self, l0: torch.Tensor, num_rows: int) -> torch.Tensor:
        """This worker's share of L0 or of (L0 / target - 1)^2, where `l0` is its share of L0.

        The shares of all workers add up to the penalty, and their gradients to its gradient, since the excess is
        that of the global batch.
        """
        if self._spec.target_l0 is None:
            return l0
        share = l0 / self._spec.target_l0
        ratio = sum_over_workers(share.detach().clone())
        return (ratio - 1) * (2 * share - (ratio + 1) * (num_rows / self.problem.batch_rows))

    def _below_threshold(
        self, weights: Weights, x_BD: torch.Tensor, candidates: Candidates, threshold_F: torch.Tensor
    ) -> torch.Tensor:
        """sum relu(threshold - z), weighted by decoder norms, of all entries, from the sparse ones.

        relu(t - z) = t - z + relu(z - t). The sum of z over rows needs their sum alone, and only candidates can
        exceed their threshold.
        """
        num_rows = x_BD.shape[0]
        sum_D = (x_BD - self.centre(weights)).sum(dim=0)
        sum_z_F = weights["W_enc"] @ sum_D + num_rows * weights["b_enc"]
        norms_F = self.norms(weights)
        over = (candidates.z - candidates.of_latents(threshold_F)).relu() * candidates.of_latents(norms_F)
        return ((norms_F * (num_rows * threshold_F - sum_z_F)).sum() + over.sum()) / self.normaliser

    def _candidates(self, weights: Weights, x_BD: torch.Tensor, threshold_F: torch.Tensor) -> Candidates:
        """Every entry that is active or moves its threshold."""
        W_enc_FD, b_enc_F, centre_D = weights["W_enc"], weights["b_enc"], self.centre(weights)
        floor_F = threshold_F.detach() - self._spec.bandwidth / 2
        return candidates_above(floor_F, x_BD, W_enc_FD, b_enc_F, centre_D)

    @torch.no_grad()
    def initial(self, weights: Weights, batch: RowPairs) -> Weights:
        """Thresholds all alike, or where each latent is active equally often on the sampled rows."""
        spec = self._spec
        l0 = spec.initial_l0 or (2 * spec.target_l0 if spec.target_l0 else None)
        threshold_F = torch.full_like(weights["b_enc"], spec.initial_threshold)
        if l0 is not None:
            x_ND = batch.x_BD[:MAX_THRESHOLD_ROWS]
            z_NF = torch.addmm(weights["b_enc"], x_ND - self.centre(weights), weights["W_enc"].T)
            num_active = min(x_ND.shape[0] - 1, max(1, round(l0 / spec.num_latents * x_ND.shape[0])))
            last_2F = z_NF.topk(num_active + 1, dim=0).values[-2:]
            # Between two rows: on one of them, rounding would decide whether it is active.
            threshold_F = last_2F.mean(dim=0).clamp(min=SMALLEST_THRESHOLD)
        return {**weights, "log_threshold": threshold_F.log()}

    def restart(self, weights: Weights, latents_N: torch.Tensor, alive_F: torch.Tensor) -> None:
        super().restart(weights, latents_N, alive_F)
        weights["log_threshold"][latents_N] = weights["log_threshold"][alive_F].mean()

    def jump_relu_form(self, weights: Weights) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return weights["W_enc"], weights["b_enc"], weights["log_threshold"].exp()
