"""Where training starts: input scale, centre and weights.

Shape suffixes: N sampled rows, D width of the activations, F latents.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from thresher.contracts.errors import SpecError
from thresher.dictionary.batch_topk import Weights

MEDIAN_MAX_ITERATIONS = 100
MEDIAN_TOLERANCE = 1e-6


@dataclass(frozen=True)
class InputStatistics:
    scale: float
    """Inputs are multiplied by it, so that their mean norm is sqrt(D)."""
    variance: float
    """Mean squared distance of a scaled row from the mean row."""
    centre_D: torch.Tensor
    """Geometric median of the scaled rows, float32."""


def input_statistics(x_ND: torch.Tensor) -> InputStatistics:
    """Statistics of a sample of rows.

    Raises:
        SpecError: the rows are all alike or not finite.
    """
    x_ND = x_ND.double()
    mean_norm = float(x_ND.norm(dim=1).mean())
    variance = float((x_ND - x_ND.mean(dim=0)).square().sum(dim=1).mean())
    if not 0 < variance < float("inf"):
        raise SpecError(
            "site", f"variance {variance}", mend="Rows of this site do not vary or are not finite."
        )
    scale = x_ND.shape[1] ** 0.5 / mean_norm
    return InputStatistics(scale, variance * scale**2, (geometric_median(x_ND) * scale).float())


def geometric_median(x_ND: torch.Tensor) -> torch.Tensor:
    """The point with the least summed distance to all rows, by Weiszfeld's iteration (Weiszfeld 1937)."""
    median_D = x_ND.mean(dim=0)
    spread = float((x_ND - median_D).norm(dim=1).mean())
    for _ in range(MEDIAN_MAX_ITERATIONS):
        weights_N = 1 / (x_ND - median_D).norm(dim=1).clamp(min=1e-12 * spread)
        moved_D = weights_N @ x_ND / weights_N.sum()
        shift = float((moved_D - median_D).norm())
        median_D = moved_D
        if shift <= MEDIAN_TOLERANCE * spread:
            break
    return median_D


def initial_weights(num_latents: int, centre_D: torch.Tensor, seed: int) -> Weights:
    """Random unit decoder rows, the encoder their transpose, b_dec the centre (Gao et al. 2024, A.1)."""
    generator = torch.Generator().manual_seed(seed)
    W_dec_FD = functional.normalize(torch.randn(num_latents, centre_D.numel(), generator=generator), dim=1)
    return Weights(
        W_enc_FD=W_dec_FD.clone(),
        b_enc_F=torch.zeros(num_latents),
        W_dec_FD=W_dec_FD,
        b_dec_D=centre_D.clone(),
    )
