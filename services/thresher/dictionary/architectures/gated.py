"""The objective of gated dictionaries (Rajamanoharan et al. 2024a, eq. 8).

Shape suffixes: B rows of this worker, D width of the input, E width of the output, F latents.
"""

import torch

from thresher.activations.row_pairs import RowPairs
from thresher.dictionary.architectures.candidates import candidates_above
from thresher.dictionary.architectures.objective import Losses, Objective, Problem, Weights
from thresher.dictionary.architectures.schedules import warmed_up
from thresher.dictionary.architectures.spec import GatedSpec


class GatedObjective(Objective):
    """Fraction of variance unexplained, plus the L1 penalty on the gate, plus the gate's own reconstruction.

    gate = W_enc (x - b_dec) + b_gate says which latents are active, magnitude = relu(exp(r_mag) · W_enc (x - b_dec)
    + b_mag) how much. The gate learns from the penalty and from its own reconstruction alone, which is decoded by
    constant W_dec and b_dec.
    """

    def __init__(self, spec: GatedSpec, problem: Problem) -> None:
        super().__init__(problem, unit_norm=spec.decoder_norm == "unit")
        self._spec = spec

    def initial(self, weights: Weights, batch: RowPairs) -> Weights:
        rest = {name: weight for name, weight in weights.items() if name != "b_enc"}
        zeros = {name: torch.zeros_like(weights["b_enc"]) for name in ("b_gate", "r_mag", "b_mag")}
        return {**rest, **zeros}

    def losses(self, weights: Weights, batch: RowPairs, dead_F: torch.Tensor, step: int) -> Losses:
        W_enc_FD, b_gate_F, centre_D = weights["W_enc"], weights["b_gate"], self.centre(weights)
        gate = candidates_above(0.0, batch.x_BD, W_enc_FD, b_gate_F, centre_D)
        open_gate = gate.z.relu()
        scale, shift = gate.of_latents(weights["r_mag"].exp()), gate.of_latents(weights["b_mag"])
        magnitude = (scale * (gate.z - gate.of_latents(b_gate_F)) + shift).relu()
        values = magnitude * (gate.z > 0)
        decoded_BE = gate.decode(values, weights["W_dec"])
        residual_BE = batch.y_BE - self.completed(weights, batch, decoded_BE)
        reconstruction = residual_BE.square().sum() / self.normaliser

        frozen = {name: weight.detach() for name, weight in weights.items()}
        by_gate_BE = self.completed(frozen, batch, gate.decode(open_gate, frozen["W_dec"]))
        auxiliary = (batch.y_BE - by_gate_BE).square().sum() / self.normaliser

        warmth = warmed_up(step, self.problem.num_steps, self._spec.sparsity_warmup_fraction)
        penalty = (open_gate * gate.of_latents(self.norms(weights))).sum()
        sparsity = warmth * self._spec.coefficient * penalty / self.normaliser
        return Losses(
            total=reconstruction + sparsity + auxiliary,
            reconstruction=reconstruction,
            sparsity=sparsity,
            auxiliary=auxiliary,
            residual_BE=residual_BE.detach(),
            num_active_F=gate.rows_active(values.detach(), dead_F.numel()),
        )

    def jump_relu_form(self, weights: Weights) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """exp(r_mag) W_enc and b_mag, and the threshold b_mag - exp(r_mag) b_gate: exactly gate > 0."""
        scale_F = weights["r_mag"].exp()
        threshold_F = weights["b_mag"] - scale_F * weights["b_gate"]
        return weights["W_enc"] * scale_F.unsqueeze(1), weights["b_mag"], threshold_F
