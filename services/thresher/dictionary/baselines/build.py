"""The dictionary of a baseline's spec.

Shape suffixes: B rows, D width of the activations.
"""

from collections.abc import Iterable

import torch

from thresher.dictionary.baselines.k_means import fit_k_means
from thresher.dictionary.baselines.pca import fit_pca
from thresher.dictionary.baselines.random_directions import fit_random_directions
from thresher.dictionary.baselines.semi_nmf import fit_semi_nmf
from thresher.dictionary.baselines.spec import (
    BaselineSpec,
    KMeansSpec,
    PcaSpec,
    RandomDirectionsSpec,
    SemiNmfSpec,
)
from thresher.latents.encoder import SparseEncoder


def fit_baseline(spec: BaselineSpec, batches: Iterable[torch.Tensor], seed: int) -> SparseEncoder:
    """Make the baseline that the spec's kind names from batches x_BD.

    Raises:
        SpecError: there are too few rows for so many latents.
    """
    match spec:
        case PcaSpec():
            return fit_pca(spec, batches)
        case SemiNmfSpec():
            return fit_semi_nmf(spec, batches, seed)
        case KMeansSpec():
            return fit_k_means(spec, batches, seed)
        case RandomDirectionsSpec():
            return fit_random_directions(spec, batches, seed)
