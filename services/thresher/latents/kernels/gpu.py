"""The kernels on CUDA devices, in Triton. Documented in plain.py, which they equal.

No atomics: each program writes what it alone sums, in the order of the codes, so that results repeat bit by bit.
Selection is plain torch, whose operators are fast there.

Shape suffixes: B rows or whatever is summed into, D width of the vectors, V vectors, K codes.
"""

import torch
import triton
import triton.language as tl

from thresher.latents.kernels.plain import (
    collect_above,
    kth_largest,
    largest_of_rows,
    order_by_latent,
    rounded,
    row_floors,
    row_of_code,
    sum_values,
)

__all__ = [
    "collect_above",
    "dot_vectors",
    "kth_largest",
    "largest_of_rows",
    "order_by_latent",
    "rounded",
    "row_floors",
    "sum_values",
    "sum_vectors",
]

MAX_BLOCK = 1024


def sum_vectors(
    offsets: torch.Tensor, vector_K: torch.Tensor, values_K: torch.Tensor, vectors_VD: torch.Tensor
) -> torch.Tensor:
    num_sums, width = offsets.numel() - 1, vectors_VD.shape[1]
    out_BD = vectors_VD.new_empty(num_sums, width)
    block = min(MAX_BLOCK, triton.next_power_of_2(width))
    if num_sums:
        _sum_vectors[(num_sums, triton.cdiv(width, block))](
            offsets, vector_K, values_K.contiguous(), vectors_VD.contiguous(), out_BD, width, BLOCK=block
        )
    return out_BD


def dot_vectors(
    offsets: torch.Tensor, vector_K: torch.Tensor, rows_BD: torch.Tensor, vectors_VD: torch.Tensor
) -> torch.Tensor:
    out_K = rows_BD.new_empty(vector_K.numel())
    width = rows_BD.shape[1]
    block = min(MAX_BLOCK, triton.next_power_of_2(width))
    if out_K.numel():
        row_K = row_of_code(offsets, vector_K)
        _dot_vectors[(out_K.numel(),)](
            row_K, vector_K, rows_BD.contiguous(), vectors_VD.contiguous(), out_K, width, BLOCK=block
        )
    return out_K


@triton.jit  # type: ignore[untyped-decorator]
def _sum_vectors(offsets, vector_K, values_K, vectors_VD, out_BD, width, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    total = tl.zeros([BLOCK], dtype=tl.float32)
    first = tl.load(offsets + row)
    last = tl.load(offsets + row + 1)
    for code in range(first, last):
        start = tl.load(vector_K + code) * width
        vector = tl.load(vectors_VD + start + columns, mask=inside, other=0.0)
        total += tl.load(values_K + code) * vector
    tl.store(out_BD + row * width + columns, total, mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _dot_vectors(row_K, vector_K, rows_BD, vectors_VD, out_K, width, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    code = tl.program_id(0).to(tl.int64)
    row_start = tl.load(row_K + code) * width
    vector_start = tl.load(vector_K + code) * width
    total = tl.zeros([BLOCK], dtype=tl.float32)
    for first in range(0, width, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        inside = columns < width
        row = tl.load(rows_BD + row_start + columns, mask=inside, other=0.0)
        total += row * tl.load(vectors_VD + vector_start + columns, mask=inside, other=0.0)
    tl.store(out_K + code, tl.sum(total, axis=0))
