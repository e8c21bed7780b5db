"""The core that every architecture shares: what its loss is a function of, and how codes become a reconstruction.

Shape suffixes: B rows of this worker, D width of the input, E width of the output, F latents, K chosen codes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch

from thresher.dictionary.architectures.decoder_norms import decoder_norms
from thresher.dictionary.batch import Batch, PairLayout
from thresher.latents.kernels import SparseCodes, sparse_decode, sparse_encode

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
        self._unit_norm = unit_norm
        self._z_BF = torch.empty(0, 0)

    def initial(self, weights: Weights, batch: Batch) -> Weights:
        """Weights to begin with, from those that all architectures share and a sample of rows."""
        return weights

    @abstractmethod
    def losses(self, weights: Weights, batch: Batch, dead_F: torch.Tensor, step: int) -> Losses:
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

    @torch.no_grad()
    def weighted_preactivations(self, weights: Weights, x_BD: torch.Tensor) -> torch.Tensor:
        """z_BF times the decoder norms, in a buffer that the next call overwrites."""
        W_enc_FD, b_enc_F = weights["W_enc"], weights["b_enc"]
        if not self._unit_norm:
            norms_F = self.norms(weights)
            W_enc_FD, b_enc_F = W_enc_FD * norms_F.unsqueeze(1), b_enc_F * norms_F
        return self.preactivations(W_enc_FD, b_enc_F, x_BD - self.centre(weights))

    @torch.no_grad()
    def preactivations(
        self, W_enc_FD: torch.Tensor, b_enc_F: torch.Tensor, x_BD: torch.Tensor
    ) -> torch.Tensor:
        """z_BF of centred inputs, in a buffer that the next call overwrites."""
        shape = (x_BD.shape[0], W_enc_FD.shape[0])
        if self._z_BF.shape != shape:
            self._z_BF = x_BD.new_empty(shape)
        return torch.addmm(b_enc_F, x_BD, W_enc_FD.T, out=self._z_BF)

    def chosen_codes(
        self, weights: Weights, x_BD: torch.Tensor, choose: Callable[[torch.Tensor], SparseCodes]
    ) -> SparseCodes:
        """Codes that `choose` makes of decoder-norm weighted pre-activations; values differentiable in the weights."""
        codes = choose(self.weighted_preactivations(weights, x_BD))
        if not self._unit_norm:
            codes = codes.with_values(codes.values / self.norms(weights).detach()[codes.latents])
        return codes.with_values(
            sparse_encode(x_BD, weights["W_enc"], weights["b_enc"], self.centre(weights), codes)
        )

    def reconstruction(self, weights: Weights, batch: Batch, codes: SparseCodes) -> torch.Tensor:
        """y_hat_BE of sparse codes."""
        return self.completed(weights, batch, sparse_decode(codes, weights["W_dec"]))

    def completed(self, weights: Weights, batch: Batch, decoded_BE: torch.Tensor) -> torch.Tensor:
        """y_hat_BE: what was decoded, and what does not depend on the codes."""
        y_hat_BE = decoded_BE + weights["b_dec"]
        return y_hat_BE + batch.x_BD @ weights["W_skip"].T if self.problem.layout.skip else y_hat_BE


def rows_active(codes: SparseCodes, num_latents: int) -> torch.Tensor:
    """num_active_F: rows that each latent is active on."""
    return torch.bincount(codes.latents, minlength=num_latents)


def latent_weights(weights: Weights) -> list[str]:
    """Names of the weights that have a row a latent."""
    return [name for name in weights if name not in ("b_dec", "W_skip")]
