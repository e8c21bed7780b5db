"""Directions of clusters as a dictionary.

Shape suffixes: B rows, N rows, D width of the activations, F latents.
"""

from collections.abc import Iterable

import torch
from torch.nn import functional

from thresher.dictionary.baselines.common import chunks_of, projections
from thresher.dictionary.baselines.spec import KMeansSpec
from thresher.latents.encoder import SparseEncoder


def fit_k_means(spec: KMeansSpec, batches: Iterable[torch.Tensor], seed: int) -> SparseEncoder:
    """Clusters of the directions of rows from the mean of the first chunk of them."""
    from sklearn.cluster import MiniBatchKMeans  # takes a second

    clusters = MiniBatchKMeans(spec.num_latents, random_state=seed, n_init=1)
    mean_D: torch.Tensor | None = None
    for x_ND in chunks_of(batches, spec.num_latents):
        mean_D = x_ND.mean(dim=0) if mean_D is None else mean_D
        clusters.partial_fit(functional.normalize(x_ND - mean_D, dim=1).numpy())
    assert mean_D is not None
    return projections(
        functional.normalize(torch.from_numpy(clusters.cluster_centers_), dim=1), mean_D, spec.k
    )
