"""How near the texts of windows are: cosines of hashed TF-IDF vectors of tokens and pairs of tokens.

Deterministic and without a model. Hashing with signs as in Weinberger et al., Feature hashing for large scale multitask
learning (2009), section 2; idf is the smoothed one of scikit-learn.
Shapes: P windows of a pool, E windows, C tokens of a window, D dimensions, B features of a block.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from thresher.features.loops import mix
from thresher.latents.kernels.threads import compiled

DIMENSIONS = 512
DECIMALS = 6
"""Cosines are rounded, so that equal texts are equally near whatever the order of the sums."""
Doubles = npt.NDArray[np.float64]
SIGN_BIT = np.uint64(63)


class TextNearness:
    """Vectors of the windows of a pool, whose frequencies weigh the terms."""

    def __init__(self, pool_token_ids_PC: npt.NDArray[np.int32]) -> None:
        counts_PD = term_counts(pool_token_ids_PC)
        num_windows_D = (counts_PD != 0).sum(axis=0)
        self._idf_D = np.log((1 + len(counts_PD)) / (1 + num_windows_D)) + 1
        self._pool_PD = _normalised(counts_PD * self._idf_D)

    def cosines(
        self, token_ids_EC: npt.NDArray[np.int32], owner_E: npt.NDArray[np.int64], num_owners: int
    ) -> Doubles:
        """[B, P]: of the mean vector of the windows of each owner, with each window of the pool."""
        query_BD = np.zeros((num_owners, DIMENSIONS))
        _add_unit_vectors(token_ids_EC, owner_E, self._idf_D, query_BD)
        return np.round(_normalised(query_BD) @ self._pool_PD.T, DECIMALS)


def term_counts(token_ids_EC: npt.NDArray[np.int32]) -> Doubles:
    """[E, D]: signed counts of the hashed tokens and pairs of neighbouring tokens."""
    counts_ED = np.zeros((len(token_ids_EC), DIMENSIONS))
    _count_terms(token_ids_EC, counts_ED)
    return counts_ED


@compiled
def _count_terms(token_ids_EC: npt.NDArray[np.int32], counts_ED: Doubles) -> None:
    for entry in range(token_ids_EC.shape[0]):
        for token in range(token_ids_EC.shape[1]):
            single = mix(np.uint64(token_ids_EC[entry, token]))
            _count(counts_ED[entry], single)
            if token > 0:
                before = mix(np.uint64(token_ids_EC[entry, token - 1]))
                _count(counts_ED[entry], mix(before ^ np.uint64(token_ids_EC[entry, token])))


@compiled
def _add_unit_vectors(
    token_ids_EC: npt.NDArray[np.int32], owner_E: npt.NDArray[np.int64], idf_D: Doubles, query_BD: Doubles
) -> None:
    for entry in range(token_ids_EC.shape[0]):
        counts_1D = np.zeros((1, query_BD.shape[1]))
        _count_terms(token_ids_EC[entry : entry + 1], counts_1D)
        vector_D = counts_1D[0] * idf_D
        norm = np.sqrt((vector_D * vector_D).sum())
        if norm > 0:
            query_BD[owner_E[entry]] += vector_D / norm


@compiled
def _count(counts_D: Doubles, term: Any) -> None:
    sign = -1.0 if term >> SIGN_BIT else 1.0
    counts_D[term % np.uint64(counts_D.shape[0])] += sign


def _normalised(vectors: Doubles) -> Doubles:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Doubles = vectors / np.where(norms > 0, norms, 1.0)
    return found
