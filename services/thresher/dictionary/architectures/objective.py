"""The core that every architecture shares: what its loss is a function of, and how codes become a reconstruction.

Shape suffixes: B rows of this worker, D width of the input, E width of the output, F latents, K chosen codes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch

from thresher.activations.row_pairs import RowPairs
from thresher.dictionary.architectures.decoder_norms import decoder_norms
from thresher.dictionary.target.pair_layout import PairLayout
from thresher.latents.kernels import Preactivations, SparseCodes, sparse_decode, sparse_encode

Weights = dict[str, torch.Tensor]
"""Of a dictionary in training, float32: W_enc [F, D], b_enc [F], W_dec [F, E], b_dec [E], W_skip [E, D] of a skip
connection, and what an architecture adds."""


@dataclass(frozen=True)
class Problem:
    """What a dictionary is trained on, and for how long."""

    layout: PairLayout
    variance: float
    """Mean |y - mean(y)|^2 of a row."""
    batch_rows: int
    """Rows of a global batch, over all workers."""
    num_steps: int


@dataclass(frozen=True)
class Losses:
    """Sums over this worker's rows, divided by the rows of the global batch and the variance, which are fixed for the
    run: the gradients of all workers add up to those of one worker with the whole batch."""

    total: torch.Tensor
    """What is minimised."""
    reconstruction: torch.Tensor
    """Fraction of variance unexplained by the whole dictionary."""
    sparsity: torch.Tensor
    """Penalty, with its coefficient."""
    auxiliary: torch.Tensor
    """The dead latents' or the gate's own loss, without its coefficient."""
    residual_BE: torch.Tensor
    """y - y_hat, detached."""
    num_active_F: torch.Tensor
    """Rows of this worker that each latent is active on, int64."""


class Objective(ABC):
    """Loss of one architecture, as a function of weights, rows and the step alone."""

    ranks_latents = False
    """Whether the largest codes are the active ones, so that only their order counts."""
    row_k: int | None = None
    """Active latents of every row, where that is fixed."""

    def __init__(self, problem: Problem, *, unit_norm: bool) -> None:
        self.problem = problem
        self.rate_factors: dict[str, float] = {}
        """What the learning rate of some weights is multiplied by."""
        self._unit_norm = unit_norm

    def initial(self, weights: Weights, batch: RowPairs) -> Weights:
        """Weights to begin with, from those that all architectures share and a sample of rows."""
        return weights

    @abstractmethod
    def losses(self, weights: Weights, batch: RowPairs, dead_F: torch.Tensor, step: int) -> Losses:
        """Of one worker's rows; `step` counts from 0."""

    def jump_relu_form(self, weights: Weights) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """W_enc_FD, b_enc_F and threshold_F that make the codes of inference, where z > max(threshold, 0)."""
        return weights["W_enc"], weights["b_enc"], torch.zeros_like(weights["b_enc"])

    def restart(self, weights: Weights, latents_N: torch.Tensor, alive_F: torch.Tensor) -> None:
        """Set in place what a latent has beside its encoder and decoder row to what it begins as: its biases to 0."""
        for name in latent_weights(weights):
            if weights[name].dim() == 1:
                weights[name][latents_N] = 0

    @property
    def normaliser(self) -> float:
        return self.problem.batch_rows * self.problem.variance

    def centre(self, weights: Weights) -> torch.Tensor:
        """What is taken from inputs: b_dec of an autoencoder, 0 otherwise."""
        layout = self.problem.layout
        return weights["b_dec"] if layout.centres_input else weights["W_enc"].new_zeros(layout.d_in)

    def norms(self, weights: Weights) -> torch.Tensor:
        """norms_F of the decoder: the weight of each latent in penalties and selections."""
        if self._unit_norm:
            return weights["W_dec"].new_ones(()).expand(len(weights["W_dec"]))
        return decoder_norms(weights["W_dec"], self.problem.layout.output_widths)

    def preactivations(self, weights: Weights, x_BD: torch.Tensor) -> Preactivations:
        """z of rows, with decoder norms as the weights of a selection's keys."""
        norms_F = None if self._unit_norm else self.norms(weights).detach()
        centred_BD = (x_BD - self.centre(weights)).detach()
        return Preactivations(centred_BD, weights["W_enc"], weights["b_enc"], norms_F)

    def chosen_codes(
        self, weights: Weights, x_BD: torch.Tensor, choose: Callable[[Preactivations], SparseCodes]
    ) -> SparseCodes:
        """Codes that `choose` makes of pre-activations weighted by decoder norms; values differentiable in weights."""
        return self.differentiable(weights, x_BD, choose(self.preactivations(weights, x_BD)))

    def differentiable(self, weights: Weights, x_BD: torch.Tensor, codes: SparseCodes) -> SparseCodes:
        """Codes with values that are a function of the encoder's weights."""
        return codes.with_values(
            sparse_encode(x_BD, weights["W_enc"], weights["b_enc"], self.centre(weights), codes)
        )

    def reconstruction(self, weights: Weights, batch: RowPairs, codes: SparseCodes) -> torch.Tensor:
        """y_hat_BE of sparse codes."""
        return self.completed(weights, batch, sparse_decode(codes, weights["W_dec"]))

    def completed(self, weights: Weights, batch: RowPairs, decoded_BE: torch.Tensor) -> torch.Tensor:
        """y_hat_BE: what was decoded, and what does not depend on the codes."""
        y_hat_BE = decoded_BE + weights["b_dec"]
        return y_hat_BE + batch.x_BD @ weights["W_skip"].T if self.problem.layout.skip else y_hat_BE


def rows_active(codes: SparseCodes, num_latents: int) -> torch.Tensor:
    """num_active_F: rows that each latent is active on."""
    return torch.bincount(codes.latents, minlength=num_latents)


def latent_weights(weights: Weights) -> list[str]:
    """Names of the weights that have a row a latent."""
    return [name for name in weights if name not in ("b_dec", "W_skip")]
