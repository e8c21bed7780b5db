"""Principal components as a dictionary.

Shape suffixes: B rows, C components, D width of the activations.
"""

from collections.abc import Iterable

import torch

from thresher.dictionary.baselines.common import chunks_of, projections
from thresher.dictionary.baselines.spec import PcaSpec
from thresher.latents.encoder import SparseEncoder


def fit_pca(spec: PcaSpec, batches: Iterable[torch.Tensor]) -> SparseEncoder:
    """Components of all rows: latents c and C + c are component c and its opposite."""
    from sklearn.decomposition import IncrementalPCA  # takes a second

    num_components = spec.num_latents // 2
    pca = IncrementalPCA(n_components=num_components)
    for x_ND in chunks_of(batches, num_components):
        pca.partial_fit(x_ND.numpy())
    components_CD = torch.from_numpy(pca.components_)
    return projections(torch.cat([components_CD, -components_CD]), torch.from_numpy(pca.mean_), spec.k)
