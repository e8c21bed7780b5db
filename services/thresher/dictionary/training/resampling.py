"""Dead latents set anew to rows that are badly reconstructed (Bricken et al. 2023, appendix "Neuron resampling").

A function of the seed, the step and the global batch alone: the same on any number of workers, and on resume.

Shape suffixes: B rows of this worker, D width of the input, E width of the output, F latents, N latents set anew.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch.nn import functional

from thresher.activations.row_pairs import RowPairs
from thresher.dictionary.architectures.decoder_norms import normalise
from thresher.dictionary.architectures.objective import Objective, Weights
from thresher.dictionary.training.collectives import gather_rows, gather_values

ENCODER_SHARE = 0.2
"""Norm of a new encoder row, as a share of the mean norm of living ones."""


def is_due(resample_at: Sequence[float], step: int, num_steps: int) -> bool:
    """Whether dead latents are set anew after step number `step`, counted from 0."""
    return step + 1 in {max(1, round(share * num_steps)) for share in resample_at}


def seed_of(seed: int, step: int) -> int:
    """Of the rows drawn after a step: another one each time."""
    return int.from_bytes(hashlib.sha256(f"thresher resample {seed} {step}".encode()).digest()[:7], "little")


@torch.no_grad()
def resample(
    objective: Objective,
    weights: Weights,
    batch: RowPairs,
    residual_BE: torch.Tensor,
    dead_F: torch.Tensor,
    seed: int,
) -> torch.Tensor:
    """Set dead latents anew, in place, and return which: latents_N.

    Rows are drawn without repetition with probability in proportion to the square of their loss. The decoder row
    becomes the drawn y less b_dec, at norm 1, the encoder row the drawn x, at a fifth of the mean norm of living ones;
    every other weight of the latent becomes what it is at the start. If more latents are dead than rows have a loss,
    the first of them are set anew.
    """
    losses = gather_values(residual_BE.double().square().sum(dim=1))
    dead_N = dead_F.nonzero().squeeze(1)
    dead_N = dead_N[: int((losses > 0).sum())]
    if dead_N.numel() == 0 or bool(dead_F.all()):
        return dead_N[:0]
    generator = torch.Generator().manual_seed(seed)
    drawn_N = torch.multinomial(losses.square().cpu(), dead_N.numel(), generator=generator).to(dead_N.device)
    x_ND, y_NE = gather_rows(batch.x_BD, drawn_N), gather_rows(batch.y_BE, drawn_N)
    norm = weights["W_enc"][~dead_F].norm(dim=1).mean()
    x_ND = x_ND - objective.centre(weights)
    weights["W_enc"][dead_N] = ENCODER_SHARE * norm * functional.normalize(x_ND, dim=1)
    weights["W_dec"][dead_N] = normalise(y_NE - weights["b_dec"], objective.problem.layout.output_widths)
    objective.restart(weights, dead_N, ~dead_F)
    return dead_N
