"""Random directions as a dictionary.

Shape suffixes: B rows, D width of the activations, F latents.
"""

from collections.abc import Iterable

import torch
from torch.nn import functional

from thresher.dictionary.baselines.common import projections
from thresher.dictionary.baselines.spec import RandomDirectionsSpec
from thresher.latents.encoder import SparseEncoder


def fit_random_directions(
    spec: RandomDirectionsSpec, batches: Iterable[torch.Tensor], seed: int
) -> SparseEncoder:
    """Directions of the seed, around the mean of all rows."""
    sums_D, num_rows = torch.zeros(()), 0
    for x_BD in batches:
        sums_D, num_rows = sums_D + x_BD.double().sum(dim=0), num_rows + len(x_BD)
    generator = torch.Generator().manual_seed(seed)
    W_FD = functional.normalize(torch.randn(spec.num_latents, len(sums_D), generator=generator), dim=1)
    return projections(W_FD, sums_D / num_rows, spec.k)
