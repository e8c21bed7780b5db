"""Copies rows that lie anywhere in memory into float32 matrices, decoded on the way. Compiled, without the GIL.

A row of a mapped file costs a miss of the cache and of the page table before its first byte comes; asking for the
rows that come next while one is decoded hides that.

Shape suffixes: N rows, D width of the site, G blocks of columns, P pieces, S decodings.
"""

from dataclasses import dataclass
from typing import Any

import llvmlite.ir as ir
import numba as nb
import numpy as np
import numpy.typing as npt
from numba.core import cgutils, types
from numba.extending import intrinsic

from thresher.contracts.schemas import INT8_BLOCK_COLUMNS

Addresses = npt.NDArray[np.uint64]
IndexArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

ROWS_AHEAD = 8
CACHE_LINE = 64
HALF_TO_FLOAT = np.float32(2.0**112)  # float16's exponents are biased by 15, float32's by 127


@dataclass(frozen=True)
class Pieces:
    """Where the rows of a site lie in memory: runs of consecutive rows, ascending."""

    first_rows_P: IndexArray
    stop_rows_P: IndexArray
    x_addresses_P: Addresses
    """Of the first row of each run."""
    scale_addresses_P: Addresses
    """Of int8 rows' scales; else 0."""
    decodings_P: IndexArray
    """Which of the spreads and centres holds."""
    spreads_SD: FloatArray
    """[0, 0] where rows are not centred."""
    centres_SD: FloatArray
    hints: IndexArray
    """Piece in which each stretch of 2 ** hint_shift rows begins, so that a row's piece is found in a step or two."""
    hint_shift: int
    owners: Any
    """Whoever the memory belongs to."""

    def cover(self, rows_N: IndexArray) -> npt.NDArray[np.bool_]:
        """Which rows lie in one of the runs."""
        if len(self.first_rows_P) == 0:
            return np.zeros(len(rows_N), np.bool_)
        piece_N = np.searchsorted(self.first_rows_P, rows_N, side="right") - 1
        covered: npt.NDArray[np.bool_] = (piece_N >= 0) & (rows_N < self.stop_rows_P[piece_N])
        return covered


def gather_rows(
    pieces: Pieces,
    encoding: str,
    rows_N: IndexArray,
    out: FloatArray,
    places_N: IndexArray,
    factor: float,
) -> None:
    """Decode row `rows_N[n]` times `factor` into `out[places_N[n]]`; every row must lie in a piece.

    float32 values are those of RowDecoding.decode to the last bit where the factor is 1.
    """
    width = out.shape[1]
    x_bytes = width * (1 if encoding == "int8" else 2)
    num_blocks = -(-width // INT8_BLOCK_COLUMNS)
    piece_N, x_N, scale_N = _locate(
        pieces.first_rows_P,
        pieces.hints,
        pieces.hint_shift,
        pieces.x_addresses_P,
        pieces.scale_addresses_P,
        rows_N,
        x_bytes,
        2 * num_blocks,
    )
    bits, times = out.view(np.uint32), np.float32(factor)
    if encoding == "bfloat16":
        _bfloat16(x_N, out, bits, places_N, times)
    elif encoding == "float16":
        _float16(x_N, out, bits, places_N, times)
    else:
        decoding_N = pieces.decodings_P[piece_N]
        _int8(x_N, scale_N, decoding_N, pieces.spreads_SD, pieces.centres_SD, out, places_N, times)


@intrinsic  # type: ignore[untyped-decorator]
def _pointer(_context: Any, _address: Any) -> Any:
    def codegen(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.uint64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch(_context: Any, _address: Any) -> Any:
    """Ask for a cache line that is about to be read."""

    def codegen(context: Any, builder: Any, __: Any, arguments: Any) -> Any:
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, low_locality, data = (ir.Constant(number, value) for value in (0, 0, 1))
        builder.call(function, [builder.inttoptr(arguments[0], cgutils.voidptr_t), read, low_locality, data])
        return context.get_dummy_value()

    return types.void(types.uint64), codegen


compiled = nb.njit(nogil=True, cache=True)


@compiled
def _locate(first_rows_P, hints, hint_shift, x_addresses_P, scale_addresses_P, rows_N, x_bytes, scale_bytes):  # type: ignore[no-untyped-def]
    count, last = rows_N.shape[0], first_rows_P.shape[0] - 1
    piece_N = np.empty(count, np.int64)
    x_N = np.empty(count, np.uint64)
    scale_N = np.empty(count, np.uint64)
    for n in range(count):
        row = rows_N[n]
        piece = hints[row >> hint_shift]
        while piece < last and first_rows_P[piece + 1] <= row:
            piece += 1
        within = row - first_rows_P[piece]
        piece_N[n] = piece
        x_N[n] = x_addresses_P[piece] + np.uint64(within * x_bytes)
        scale_N[n] = scale_addresses_P[piece] + np.uint64(within * scale_bytes)
    return piece_N, x_N, scale_N


@compiled
def _ask_for(x_N, n, num_bytes):  # type: ignore[no-untyped-def]
    if n < x_N.shape[0]:
        for offset in range(0, num_bytes, CACHE_LINE):
            _prefetch(x_N[n] + np.uint64(offset))


@compiled
def _bfloat16(x_N, out, bits, places_N, factor):  # type: ignore[no-untyped-def]
    width = out.shape[1]
    for n in range(x_N.shape[0]):
        _ask_for(x_N, n + ROWS_AHEAD, 2 * width)
        stored_D = nb.carray(_pointer(x_N[n]), (width,), np.uint16)
        bits_D = bits[places_N[n]]
        for d in range(width):
            bits_D[d] = np.uint32(stored_D[d]) << np.uint32(16)
        if factor != np.float32(1):
            row_D = out[places_N[n]]
            for d in range(width):
                row_D[d] *= factor


@compiled
def _half_bits(half):  # type: ignore[no-untyped-def]
    """A float16 as float32, but for the bias of the exponent: times 2^112 it is exact, also below the normal range."""
    wide = np.uint32(half)
    bits = ((wide & np.uint32(0x7FFF)) << np.uint32(13)) | ((wide & np.uint32(0x8000)) << np.uint32(16))
    if (wide & np.uint32(0x7C00)) == np.uint32(0x7C00):
        bits |= np.uint32(0x7F800000)
    return bits


@compiled
def _float16(x_N, out, bits, places_N, factor):  # type: ignore[no-untyped-def]
    width = out.shape[1]
    for n in range(x_N.shape[0]):
        _ask_for(x_N, n + ROWS_AHEAD, 2 * width)
        stored_D = nb.carray(_pointer(x_N[n]), (width,), np.uint16)
        bits_D, row_D = bits[places_N[n]], out[places_N[n]]
        for d in range(width):
            bits_D[d] = _half_bits(stored_D[d])
        for d in range(width):
            row_D[d] *= HALF_TO_FLOAT
        if factor != np.float32(1):
            for d in range(width):
                row_D[d] *= factor


@compiled
def _int8(x_N, scale_N, decoding_N, spreads_SD, centres_SD, out, places_N, factor):  # type: ignore[no-untyped-def]
    width = out.shape[1]
    num_blocks = (width + INT8_BLOCK_COLUMNS - 1) // INT8_BLOCK_COLUMNS
    centred = spreads_SD.shape[0] > 0
    scale_bits_G = np.empty(num_blocks, np.uint32)
    scale_G = scale_bits_G.view(np.float32)
    scale_D = np.empty(num_blocks * INT8_BLOCK_COLUMNS, np.float32)
    for n in range(x_N.shape[0]):
        _ask_for(x_N, n + ROWS_AHEAD, width)
        _ask_for(scale_N, n + ROWS_AHEAD, 2 * num_blocks)
        stored_D = nb.carray(_pointer(x_N[n]), (width,), np.int8)
        half_G = nb.carray(_pointer(scale_N[n]), (num_blocks,), np.uint16)
        row_D = out[places_N[n]]
        for g in range(num_blocks):
            scale_bits_G[g] = _half_bits(half_G[g])
        # Each loop over the whole row, so that it is vectorised.
        for g in range(num_blocks):
            scale = scale_G[g] * HALF_TO_FLOAT
            for column in range(INT8_BLOCK_COLUMNS):
                scale_D[g * INT8_BLOCK_COLUMNS + column] = scale
        for d in range(width):
            row_D[d] = np.float32(stored_D[d]) * scale_D[d]
        if centred:
            spread_D, centre_D = spreads_SD[decoding_N[n]], centres_SD[decoding_N[n]]
            for d in range(width):
                row_D[d] = row_D[d] * spread_D[d] + centre_D[d]
        if factor != np.float32(1):
            for d in range(width):
                row_D[d] *= factor
