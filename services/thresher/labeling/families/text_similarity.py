"""How similar two labels' texts are, and which are near.

Shapes: U texts, P pairs.
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from thresher.labeling.families.near_rows import (
    FloatArray,
    IntArray,
    candidate_pairs,
    row_products,
    unit_rows,
)
from thresher.labeling.families.texts import ngram_vectors, word_sets


class TextSimilarity:
    """Over distinct normal forms: the larger of the cosine of n-grams and the Jaccard index of words."""

    def __init__(self, normal_forms: Sequence[str]) -> None:
        self.ngrams = ngram_vectors(normal_forms)
        self._words = word_sets(normal_forms)
        self._num_words = np.asarray(self._words.sum(axis=1)).ravel()

    def of(self, rows: IntArray, cols: IntArray) -> FloatArray:
        """[P]: of pairs of texts; 1 for a text and itself."""
        cosine = row_products(self.ngrams, rows, cols)
        shared = row_products(self._words, rows, cols)
        union = self._num_words[rows] + self._num_words[cols] - shared
        jaccard = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
        similarity: FloatArray = np.minimum(np.maximum(cosine, jaccard), 1.0)
        return np.where(rows == cols, 1.0, similarity)

    def near(self, threshold: float, max_near: int, block_rows: int) -> sparse.csr_matrix:
        """[U, U]: similarity of near texts, 1 on the diagonal. Of each text the nearest; symmetric all the same."""
        num_texts = self.ngrams.shape[0]
        none = np.zeros(0, np.int64)
        found: list[tuple[IntArray, IntArray, FloatArray]] = [(none, none, np.zeros(0))]
        # The Jaccard index of two sets is never above the cosine of their indicators.
        for unit in (self.ngrams, unit_rows(self._words)):
            for rows, cols in candidate_pairs(unit, threshold, block_rows):
                similarity = self.of(rows, cols)
                is_near = similarity >= threshold
                found.append((rows[is_near], cols[is_near], similarity[is_near]))
        upper = _distinct(found, num_texts)
        both = _nearest_of_each_row(upper + upper.T, max_near)
        return sparse.csr_matrix(both.maximum(both.T) + sparse.identity(num_texts))


def _distinct(found: list[tuple[IntArray, IntArray, FloatArray]], size: int) -> sparse.csr_matrix:
    rows, cols = (np.concatenate([item[axis] for item in found]).astype(np.int64) for axis in (0, 1))
    values = np.concatenate([item[2] for item in found])
    _, first = np.unique(rows * size + cols, return_index=True)
    return sparse.csr_matrix((values[first], (rows[first], cols[first])), shape=(size, size))


def _nearest_of_each_row(matrix: sparse.csr_matrix, count: int) -> sparse.csr_matrix:
    """The `count` largest entries of each row; of equals those of the smaller column."""
    entries = sparse.coo_matrix(matrix)
    order = np.lexsort((entries.col, -entries.data, entries.row))
    rows = entries.row[order]
    place = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = order[place < count]
    return sparse.csr_matrix((entries.data[kept], (entries.row[kept], entries.col[kept])), shape=matrix.shape)
