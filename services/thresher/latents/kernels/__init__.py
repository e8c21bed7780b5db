"""Sparse kernels: the work of a dictionary in proportion to its active latents, never to all of them."""

from thresher.latents.kernels.codes import SparseCodes, codes_above, codes_at
from thresher.latents.kernels.differentiable import of_latents, sparse_decode, sparse_encode, weight_gradient
from thresher.latents.kernels.keys import Preactivations
from thresher.latents.kernels.selection import estimated_share_above, select_above, select_largest_of_rows

__all__ = [
    "Preactivations",
    "SparseCodes",
    "codes_above",
    "codes_at",
    "estimated_share_above",
    "of_latents",
    "select_above",
    "select_largest_of_rows",
    "sparse_decode",
    "sparse_encode",
    "weight_gradient",
]
