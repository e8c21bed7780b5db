"""Families: texts that are near one typical text, which names them.

Source: star covers of a similarity graph, Aslam, Pelekhov and Rus, The Star Clustering Algorithm for Static and Dynamic
Information Organization (JGAA 2004), section 3.1. Components of the graph would chain: each near the next, the ends
unlike.

Shapes: U texts.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from thresher.labeling.families.near_rows import IntArray


@dataclass(frozen=True)
class TextFamily:
    """Texts that belong together."""

    centre: int
    """The text that all others are near to."""
    texts: tuple[int, ...]
    similarity: tuple[float, ...]
    """Of each to the centre."""


def text_families(near: sparse.csr_matrix, labels_of_text: Sequence[int]) -> list[TextFamily]:
    """Stars of near texts that two labels or more belong to, by their centre.

    Args:
        near: [U, U], symmetric; the similarity of two texts where they are near, 1 on the diagonal.
        labels_of_text: [U], how many labels say it.
    """
    if not len(labels_of_text):
        return []
    near = sparse.csr_matrix(near)
    centre_U = _nearest_centres(near, _centres(near, np.asarray(labels_of_text)))
    members: defaultdict[int, list[int]] = defaultdict(list)
    for text, centre in enumerate(centre_U):
        members[int(centre)].append(text)
    return [
        TextFamily(centre, tuple(texts), tuple(float(near[centre, text]) for text in texts))
        for centre, texts in sorted(members.items())
        if sum(labels_of_text[text] for text in texts) >= 2
    ]


def _centres(near: sparse.csr_matrix, labels_of_text_U: IntArray) -> IntArray:
    """Texts by how many labels are near them, the most first; those near an earlier one are none."""
    order = np.argsort(-(near.astype(bool).astype(np.int64) @ labels_of_text_U), kind="stable")
    is_covered = np.zeros(near.shape[0], bool)
    centres = list[int]()
    for text in order:
        if not is_covered[text]:
            centres.append(int(text))
            is_covered[near.indices[near.indptr[text] : near.indptr[text + 1]]] = True
    return np.sort(np.array(centres, np.int64))


def _nearest_centres(near: sparse.csr_matrix, centres: IntArray) -> IntArray:
    """[U]: of each text the centre that it is most like; of equals the first."""
    to_centres = near[:, centres]
    return np.asarray(centres[np.asarray(to_centres.argmax(axis=1)).ravel()], np.int64)
