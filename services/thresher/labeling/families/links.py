"""Which pairs of labels are linked, and how: duplicates, synonyms and what is easily confused.

Shapes: N features, U texts, B features of a block, P pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from thresher.labeling.families.feature_evidence import FeatureEvidence
from thresher.labeling.families.near_rows import FloatArray, IntArray
from thresher.labeling.families.spec import FamilyOptions
from thresher.labeling.families.text_similarity import TextSimilarity

KINDS = ("duplicate", "confusable", "synonym")
"""Near text and near features; near features alone; near text alone."""
DUPLICATE, CONFUSABLE, SYNONYM = range(len(KINDS))


@dataclass(frozen=True)
class Links:
    """Pairs of places in the list of labels, the first before the second."""

    first_P: IntArray
    second_P: IntArray
    kind_P: IntArray
    """Index into KINDS."""
    text_P: FloatArray
    decoder_P: FloatArray
    """NaN where the dictionary's weights are not there."""
    cofiring_P: FloatArray

    def __len__(self) -> int:
        return len(self.first_P)

    def take(self, which: IntArray) -> "Links":
        return Links(
            self.first_P[which],
            self.second_P[which],
            self.kind_P[which],
            self.text_P[which],
            self.decoder_P[which],
            self.cofiring_P[which],
        )


class Linker:
    """Compares the features of one list, a block with all others at a time.

    Args:
        texts: similarity of the distinct texts.
        near: [U, U], which of them are near.
        text_of_N: the text of each label.
        evidence: of each label's feature.
        options: thresholds and limits.
    """

    def __init__(
        self,
        texts: TextSimilarity,
        near: sparse.csr_matrix,
        text_of_N: IntArray,
        evidence: FeatureEvidence,
        options: FamilyOptions,
    ) -> None:
        self._texts, self._text_of_N, self._options = texts, text_of_N, options
        self._decoder_NE = evidence.decoder_NE
        self._windows_NX = evidence.windows_NX
        self._windows_XN = sparse.csr_matrix(evidence.windows_NX.T)
        self._num_windows_N = np.asarray(evidence.windows_NX.sum(axis=1)).ravel()
        labels = np.arange(len(text_of_N))
        ones = np.ones(len(labels), np.float32)
        shape = (len(labels), near.shape[0])
        says_NU = sparse.csr_matrix((ones, (labels, text_of_N)), shape=shape)
        self._near_NU, self._says_UN = sparse.csr_matrix(says_NU @ near), sparse.csr_matrix(says_NU.T)

    def links(self) -> Links:
        """All that are kept."""
        blocks = list(self._blocks())
        return Links(
            *(
                np.concatenate([getattr(block, name) for block in blocks])
                for name in ("first_P", "second_P", "kind_P", "text_P", "decoder_P", "cofiring_P")
            )
        )

    def _blocks(self) -> Iterator[Links]:
        size = self._options.block_rows
        for start in range(0, max(len(self._text_of_N), 1), size):
            yield nearest(
                self._block(start, min(start + size, len(self._text_of_N))), self._options.max_links
            )

    def _block(self, start: int, stop: int) -> Links:
        """Every link of the features [start, stop) to those after them."""
        options, num = self._options, len(self._text_of_N)
        near_text = sparse.coo_matrix(self._near_NU[start:stop] @ self._says_UN)
        cofiring = self._cofiring(start, stop)
        is_cofiring = cofiring.data >= options.near_cofiring
        keys = [
            near_text.row * num + near_text.col.astype(np.int64),
            cofiring.row[is_cofiring] * num + cofiring.col[is_cofiring].astype(np.int64),
        ]
        cosines = None
        if self._decoder_NE is not None:
            cosines = self._decoder_NE[start:stop] @ self._decoder_NE.T
            keys.append(np.flatnonzero(cosines >= options.near_decoder))
        pairs = np.unique(np.concatenate(keys).astype(np.int64))
        rows, cols = pairs // num, pairs % num
        is_upper = rows + start < cols
        rows, cols = rows[is_upper], cols[is_upper]
        text = self._texts.of(self._text_of_N[rows + start], self._text_of_N[cols])
        decoder = np.full(len(rows), np.nan) if cosines is None else cosines[rows, cols].astype(np.float64)
        together = _entries(cofiring, rows, cols)
        return classified(rows + start, cols, text, decoder, together, options)

    def _cofiring(self, start: int, stop: int) -> sparse.coo_matrix:
        """[B, N]: shared windows over those of the feature that has fewer."""
        shared = sparse.coo_matrix(self._windows_NX[start:stop] @ self._windows_XN)
        fewer = np.minimum(self._num_windows_N[shared.row + start], self._num_windows_N[shared.col])
        return sparse.coo_matrix((shared.data / fewer, (shared.row, shared.col)), shape=shared.shape)


def _entries(matrix: sparse.coo_matrix, rows: IntArray, cols: IntArray) -> FloatArray:
    """[P]: the entries at some places, 0 where there is none."""
    if len(rows) == 0:
        return np.zeros(0)
    return np.asarray(sparse.csr_matrix(matrix)[rows, cols], np.float64).ravel()


def classified(
    first: IntArray,
    second: IntArray,
    text: FloatArray,
    decoder: FloatArray,
    cofiring: FloatArray,
    options: FamilyOptions,
) -> Links:
    """Those of the pairs that are links."""
    is_near_text = text >= options.near_text
    is_same = (np.nan_to_num(decoder, nan=-1.0) >= options.near_decoder) | (cofiring >= options.near_cofiring)
    kind = np.where(is_near_text & is_same, DUPLICATE, np.where(is_same, CONFUSABLE, SYNONYM))
    links = Links(first, second, kind, text, decoder, cofiring)
    return links.take(np.flatnonzero(is_near_text | is_same))


def nearest(links: Links, count: int) -> Links:
    """Of each first feature the `count` links that say most: by kind, then by nearness, then by the second's place."""
    strength = np.where(
        links.kind_P == SYNONYM,
        links.text_P,
        np.maximum(np.nan_to_num(links.decoder_P, nan=-1.0), links.cofiring_P),
    )
    order = np.lexsort((links.second_P, -strength, links.kind_P, links.first_P))
    first = links.first_P[order]
    place = np.arange(len(first)) - np.searchsorted(first, first)
    return links.take(np.sort(order[place < count]))


def kind_names(kinds: Sequence[int] | IntArray) -> list[str]:
    return [KINDS[kind] for kind in kinds]
