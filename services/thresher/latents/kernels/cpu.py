"""The kernels on the CPU: compiled loops over tensors' memory. Documented in plain.py, which they equal.

Shape suffixes: B rows or whatever is summed into, D width of the vectors, V vectors, F latents, K codes, N candidates.
"""

import torch

from thresher.latents.kernels import loops, selection_loops
from thresher.latents.kernels.codes import LatentOrder, SparseCodes
from thresher.latents.kernels.memory import empty
from thresher.latents.kernels.threads import PIECES_PER_THREAD, for_bounds, for_ranges

CLASSES_PER_K = 8
MIN_CLASSES = 64


def sum_vectors(
    offsets: torch.Tensor, vector_K: torch.Tensor, values_K: torch.Tensor, vectors_VD: torch.Tensor
) -> torch.Tensor:
    out_BD = empty(offsets.numel() - 1, vectors_VD.shape[1])
    arrays = (tensor.contiguous().numpy() for tensor in (offsets, vector_K, values_K, vectors_VD, out_BD))
    for_bounds(loops.sum_vectors, _even_bounds(offsets), *arrays)
    return out_BD


def sum_values(offsets: torch.Tensor, values_K: torch.Tensor) -> torch.Tensor:
    out_B = torch.empty(offsets.numel() - 1)
    loops.sum_values(offsets.numpy(), values_K.contiguous().numpy(), out_B.numpy())
    return out_B


def dot_vectors(
    offsets: torch.Tensor, vector_K: torch.Tensor, rows_BD: torch.Tensor, vectors_VD: torch.Tensor
) -> torch.Tensor:
    out_K = torch.empty(vector_K.numel())
    arrays = (tensor.contiguous().numpy() for tensor in (offsets, vector_K, rows_BD, vectors_VD, out_K))
    for_bounds(loops.dot_vectors, _even_bounds(offsets), *arrays)
    return out_K


def order_by_latent(codes: SparseCodes, num_latents: int) -> LatentOrder:
    code_K, row_K = torch.empty_like(codes.latents), torch.empty_like(codes.latents)
    starts = torch.zeros(num_latents + 1, dtype=torch.int64)
    latents_K = codes.latents.numpy()
    loops.count_latents(latents_K, starts.numpy())
    starts.cumsum_(0)
    loops.place_codes(
        codes.row_offsets.numpy(), latents_K, starts[:-1].clone().numpy(), code_K.numpy(), row_K.numpy()
    )
    return LatentOrder(starts, code_K, row_K)


def rounded(rows_BD: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    num_rows = rows_BD.shape[0]
    norms_B, errors_B = torch.empty(num_rows), torch.zeros(num_rows)
    if dtype != torch.bfloat16:
        return rows_BD, torch.linalg.vector_norm(rows_BD, dim=1), errors_B
    rounded_BD = empty(*rows_BD.shape, dtype=torch.bfloat16)
    arrays = (rows_BD.numpy(), _bits(rounded_BD), norms_B.numpy(), errors_B.numpy())
    for_ranges(selection_loops.round_rows, num_rows, *arrays)
    return rounded_BD, norms_B, errors_B


def row_floors(keys_BF: torch.Tensor, bias_F: torch.Tensor, k: int) -> torch.Tensor:
    num_rows, num_latents = keys_BF.shape
    num_classes = max(MIN_CLASSES, 1 << (CLASSES_PER_K * k - 1).bit_length())
    if num_classes > num_latents:
        num_classes = num_latents
    floors_B = torch.empty(num_rows)
    for_ranges(
        selection_loops.row_floors, num_rows, _bits(keys_BF), bias_F.numpy(), num_classes, k, floors_B.numpy()
    )
    return floors_B


def collect_above(
    keys_BF: torch.Tensor, bias_F: torch.Tensor, floors_B: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    num_rows = keys_BF.shape[0]
    counts_B = torch.empty(num_rows, dtype=torch.int64)
    given = (_bits(keys_BF), bias_F.numpy(), floors_B.numpy())
    for_ranges(selection_loops.count_above, num_rows, *given, counts_B.numpy())
    offsets = torch.cat([counts_B.new_zeros(1), counts_B.cumsum(0)])
    latents_N = torch.empty(int(offsets[-1]), dtype=torch.int64)
    keys_N = torch.empty(int(offsets[-1]))
    for_ranges(
        selection_loops.collect_above, num_rows, *given, offsets.numpy(), latents_N.numpy(), keys_N.numpy()
    )
    return counts_B, latents_N, keys_N


def kth_largest(values_N: torch.Tensor, k: int) -> float:
    return float(selection_loops.kth_largest(values_N.numpy(), k))


def largest_of_rows(offsets: torch.Tensor, keys_N: torch.Tensor, k: int) -> torch.Tensor:
    mask_N = torch.empty(keys_N.numel(), dtype=torch.bool)
    for_ranges(
        selection_loops.largest_of_rows,
        offsets.numel() - 1,
        offsets.numpy(),
        keys_N.numpy(),
        k,
        mask_N.numpy(),
    )
    return mask_N


def _even_bounds(offsets: torch.Tensor) -> list[int]:
    """Bounds of pieces with about as many codes each."""
    num_pieces = max(1, min(offsets.numel() - 1, torch.get_num_threads() * PIECES_PER_THREAD))
    shares = torch.arange(1, num_pieces) * int(offsets[-1]) // num_pieces
    inner = torch.searchsorted(offsets, shares).tolist()
    return [0, *inner, offsets.numel() - 1]


def _bits(keys_BF: torch.Tensor) -> object:
    return keys_BF.view(torch.uint16).numpy() if keys_BF.dtype == torch.bfloat16 else keys_BF.numpy()
