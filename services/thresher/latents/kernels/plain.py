"""The kernels in plain torch, on any device: dense matrices in pieces of rows, and what the others are tested against.

Shape suffixes: B rows or whatever is summed into, D width of the vectors, V vectors, F latents, K codes, N candidates.
"""

import torch

from thresher.latents.kernels.codes import LatentOrder, SparseCodes

PIECE_ENTRIES = 1 << 25
"""Entries of a dense piece: 128 MiB of float32."""


def sum_vectors(
    offsets: torch.Tensor, vector_K: torch.Tensor, values_K: torch.Tensor, vectors_VD: torch.Tensor
) -> torch.Tensor:
    """out_BD[i] = sum over the codes in offsets[i]:offsets[i + 1] of value * vectors[vector of the code]."""
    num_vectors, num_sums = vectors_VD.shape[0], offsets.numel() - 1
    out_BD = vectors_VD.new_empty(num_sums, vectors_VD.shape[1])
    row_K = row_of_code(offsets, vector_K)
    for start, stop in _pieces(num_sums, num_vectors):
        codes = slice(int(offsets[start]), int(offsets[stop]))
        dense_BV = vectors_VD.new_zeros(stop - start, num_vectors)
        dense_BV.index_put_((row_K[codes] - start, vector_K[codes]), values_K[codes], accumulate=True)
        torch.mm(dense_BV, vectors_VD, out=out_BD[start:stop])
    return out_BD


def sum_values(offsets: torch.Tensor, values_K: torch.Tensor) -> torch.Tensor:
    """out_B[i] = sum over the codes in offsets[i]:offsets[i + 1] of value."""
    sums_B: torch.Tensor = torch.segment_reduce(values_K, "sum", offsets=offsets, initial=0.0)
    return sums_B


def dot_vectors(
    offsets: torch.Tensor, vector_K: torch.Tensor, rows_BD: torch.Tensor, vectors_VD: torch.Tensor
) -> torch.Tensor:
    """out_K = rows[i] . vectors[vector of the code], for the codes in offsets[i]:offsets[i + 1]."""
    out_K = rows_BD.new_empty(vector_K.numel())
    row_K = row_of_code(offsets, vector_K)
    for start, stop in _pieces(rows_BD.shape[0], vectors_VD.shape[0]):
        codes = slice(int(offsets[start]), int(offsets[stop]))
        dense_BV = rows_BD[start:stop] @ vectors_VD.T
        out_K[codes] = dense_BV[row_K[codes] - start, vector_K[codes]]
    return out_K


def order_by_latent(codes: SparseCodes, num_latents: int) -> LatentOrder:
    sorted_K, order_K = torch.sort(codes.latents, stable=True)
    starts = torch.searchsorted(sorted_K, torch.arange(num_latents + 1, device=sorted_K.device))
    return LatentOrder(starts, order_K, codes.row_of_code()[order_K])


def rounded(rows_BD: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows in another type, norms_B of the rows and norms_B of what the rounding changed."""
    rounded_BD = rows_BD.to(dtype)
    return rounded_BD, _norms(rows_BD), _norms(rows_BD - rounded_BD)


def row_floors(keys_BF: torch.Tensor, bias_F: torch.Tensor, k: int) -> torch.Tensor:
    """floors_B: a number that at least k keys + bias of a row reach, close to the largest such."""
    largest_BK: torch.Tensor = (keys_BF.float() + bias_F).topk(k, dim=1, sorted=False).values
    return largest_BK.amin(dim=1)


def collect_above(
    keys_BF: torch.Tensor, bias_F: torch.Tensor, floors_B: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """counts_B, latents_N and keys_N of the keys + bias at or above their row's floor, in ascending order."""
    biased_BF = keys_BF.float() + bias_F
    mask_BF = biased_BF >= floors_B.unsqueeze(1)
    return mask_BF.sum(dim=1), mask_BF.nonzero()[:, 1], biased_BF[mask_BF]


def kth_largest(values_N: torch.Tensor, k: int) -> float:
    """The k-th largest value if it is positive, else 0; 0, too, if there are fewer values."""
    if values_N.numel() < k:
        return 0.0
    return max(0.0, float(values_N.kthvalue(values_N.numel() - k + 1).values))


def largest_of_rows(offsets: torch.Tensor, keys_N: torch.Tensor, k: int) -> torch.Tensor:
    """mask_N of the k largest positive keys of each row; of equal ones the first."""
    lengths_B = offsets.diff()
    row_N = row_of_code(offsets, keys_N)
    padded_BL = keys_N.new_zeros(lengths_B.numel(), max(1, int(lengths_B.max()) if lengths_B.numel() else 1))
    place_N = torch.arange(keys_N.numel(), device=keys_N.device) - offsets[row_N]
    padded_BL[row_N, place_N] = keys_N
    rank_BL = padded_BL.sort(dim=1, descending=True, stable=True).indices[:, :k]
    chosen_BL = torch.zeros_like(padded_BL, dtype=torch.bool).scatter_(1, rank_BL, True)
    return chosen_BL[row_N, place_N] & (keys_N > 0)


def _norms(rows_BD: torch.Tensor) -> torch.Tensor:
    norms_B: torch.Tensor = torch.linalg.vector_norm(rows_BD, dim=1)
    return norms_B


def row_of_code(offsets: torch.Tensor, codes_K: torch.Tensor) -> torch.Tensor:
    """row_K: which row each code belongs to."""
    rows_B = torch.arange(offsets.numel() - 1, device=offsets.device)
    return torch.repeat_interleave(rows_B, offsets.diff(), output_size=codes_K.numel())


def _pieces(num_rows: int, row_entries: int) -> list[tuple[int, int]]:
    size = max(1, PIECE_ENTRIES // max(1, row_entries))
    return [(start, min(start + size, num_rows)) for start in range(0, num_rows, size)]
