"""Families: texts that are near, directly or over others, with the most typical one for a name.

Shapes: U texts, G n-grams.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from thresher.labeling.families.near_rows import FloatArray


@dataclass(frozen=True)
class TextFamily:
    """Texts that belong together."""

    medoid: int
    """The text that is most like all others."""
    texts: tuple[int, ...]
    similarity: tuple[float, ...]
    """Of each to the medoid, by n-grams."""


def text_families(
    near: sparse.csr_matrix, ngrams: sparse.csr_matrix, labels_of_text: Sequence[int]
) -> list[TextFamily]:
    """Components of near texts that two labels or more belong to, by their first text.

    Args:
        near: [U, U], entries where two texts are near.
        ngrams: [U, G], of length 1.
        labels_of_text: [U], how many labels say it.
    """
    _, component_of = connected_components(near, directed=False)
    members: defaultdict[int, list[int]] = defaultdict(list)
    for text, component in enumerate(component_of):
        members[int(component)].append(text)
    weights = np.asarray(labels_of_text, np.float64)
    return [_family(texts, ngrams, weights) for texts in members.values() if weights[texts].sum() >= 2]


def _family(texts: list[int], ngrams: sparse.csr_matrix, weights: FloatArray) -> TextFamily:
    own = ngrams[texts]
    # The sum of a text's cosines with all labels is its product with their sum: no square of the members.
    total = sparse.csr_matrix(sparse.diags(weights[texts]) @ own).sum(axis=0)
    typical = np.asarray(own @ np.asarray(total).ravel()).ravel()
    medoid = int(np.argmax(np.round(typical, 9)))
    similarity = np.asarray((own @ own[medoid].T).todense()).ravel()
    similarity[medoid] = 1.0
    return TextFamily(texts[medoid], tuple(texts), tuple(float(value) for value in similarity))
