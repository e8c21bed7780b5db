"""Pairs of rows of a sparse matrix whose cosine reaches a threshold: exact, without the square of the rows in memory.

Source: prefix filtering as in Bayardo, Ma and Srikant, Scaling Up All Pairs Similarity Search (WWW 2007), section 3.
Let columns be ordered from common to rare. The common end of a row whose length stays below the threshold is left out;
two rows that share nothing of what is left share at most such an end, and its product with the other row is below the
threshold. So only rows that share a rare column are compared.

Shapes: N rows, M columns, B rows of a block, P pairs.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import sparse

MARGIN = 1e-6
PAIRS_AT_ONCE = 100_000
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def unit_rows(matrix_NM: sparse.csr_matrix) -> sparse.csr_matrix:
    """The rows at length 1; empty ones stay empty."""
    lengths_N = np.sqrt(np.asarray(matrix_NM.multiply(matrix_NM).sum(axis=1)).ravel())
    scale_N = np.divide(1.0, lengths_N, out=np.zeros_like(lengths_N), where=lengths_N > 0)
    return sparse.csr_matrix(sparse.diags(scale_N) @ matrix_NM)


def rare_ends(unit_NM: sparse.csr_matrix, threshold: float) -> sparse.csr_matrix:
    """[N, M]: 1 at the columns of each row that are left when its common end is cut off."""
    unit_NM = unit_NM.tocsr()
    frequency_M = np.bincount(unit_NM.indices, minlength=unit_NM.shape[1])
    row_of = np.repeat(np.arange(unit_NM.shape[0]), np.diff(unit_NM.indptr))
    order = np.lexsort((unit_NM.indices, -frequency_M[unit_NM.indices], row_of))
    squares = unit_NM.data[order] ** 2
    ends = np.cumsum(squares)
    before_row = np.concatenate([[0.0], ends])[unit_NM.indptr[:-1]]
    is_rare = ends - before_row[row_of] >= threshold**2 - MARGIN
    kept = order[is_rare]
    ones = np.ones(len(kept), np.float32)
    return sparse.csr_matrix((ones, (row_of[kept], unit_NM.indices[kept])), shape=unit_NM.shape)


def candidate_pairs(
    unit_NM: sparse.csr_matrix, threshold: float, block_rows: int
) -> Iterator[tuple[IntArray, IntArray]]:
    """Pairs (row, column), row < column, block by block: all that reach the threshold, and some that do not."""
    rare_NM = rare_ends(unit_NM, threshold)
    transposed = sparse.csr_matrix(rare_NM.T)
    for start in range(0, rare_NM.shape[0], block_rows):
        shared = sparse.coo_matrix(rare_NM[start : start + block_rows] @ transposed)
        rows, cols = shared.row.astype(np.int64) + start, shared.col.astype(np.int64)
        is_upper = rows < cols
        yield rows[is_upper], cols[is_upper]


def row_products(left: sparse.csr_matrix, rows: IntArray, cols: IntArray) -> FloatArray:
    """[P]: the product of each pair of rows."""
    products_P = np.zeros(len(rows))
    for start in range(0, len(rows), PAIRS_AT_ONCE):
        stop = start + PAIRS_AT_ONCE
        products = left[rows[start:stop]].multiply(left[cols[start:stop]]).sum(axis=1)
        products_P[start:stop] = np.asarray(products).ravel()
    return products_P
