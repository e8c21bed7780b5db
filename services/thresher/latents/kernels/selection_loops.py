"""The inner loops of the selection on the CPU, compiled: which approximate keys may be among the largest.

Keys are read as the GEMM wrote them (bfloat16 as its 16 bits, or float32) while they are in cache.

Shape suffixes: B rows, F latents, M maxima, N candidates.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from thresher.latents.kernels.threads import compiled

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
BLOCK = 64
BISECTIONS = 10
ZERO, ONE = np.float32(0), np.float32(1)


@intrinsic  # type: ignore[untyped-decorator]
def widened(typing_context: Any, key: Any) -> Any:
    """float32 of a bfloat16 given by its bits (uint16); a float32 as it is."""

    def of_bits(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = builder.zext(arguments[0], ir.IntType(32))
        return builder.bitcast(builder.shl(wide, ir.Constant(ir.IntType(32), 16)), ir.FloatType())

    def as_it_is(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return arguments[0]

    return types.float32(key), (of_bits if key == types.uint16 else as_it_is)


@intrinsic  # type: ignore[untyped-decorator]
def as_bits(typing_context: Any, value: Any) -> Any:
    """The bits of a float32."""

    def of_float(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), of_float


@compiled
def round_rows(
    start: int, stop: int, rows_BD: Floats, bits_BD: NDArray[np.uint16], norms_B: Floats, errors_B: Floats
) -> None:
    """Round to bfloat16, ties to even; norms of the rows and of what the rounding changed."""
    for row in range(start, stop):
        norms_B[row], errors_B[row] = _round_row(rows_BD[row], bits_BD[row])


@compiled
def _round_row(row_D: Floats, bits_D: NDArray[np.uint16]) -> tuple[np.float32, np.float32]:
    square = error = np.float32(0)
    for d in range(row_D.shape[0]):
        bits = as_bits(row_D[d])
        bits_D[d] = np.uint16(
            (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        )
        change = row_D[d] - widened(bits_D[d])
        square += row_D[d] * row_D[d]
        error += change * change
    return np.sqrt(square), np.sqrt(error)


@compiled
def row_floors(
    start: int, stop: int, keys_BF: Any, bias_F: Floats, num_maxima: int, k: int, out_B: Floats
) -> None:
    """A lower bound of the k-th largest key + bias of each row: that of the maxima of residue classes of latents."""
    num_latents = keys_BF.shape[1]
    maxima_M = np.empty(num_maxima, np.float32)
    for row in range(start, stop):
        for m in range(num_maxima):
            maxima_M[m] = -np.inf
        for first in range(0, num_latents, num_maxima):
            last = min(first + num_maxima, num_latents)
            _raise_maxima(keys_BF[row, first:last], bias_F[first:last], maxima_M[: last - first])
        out_B[row] = nearly_kth_largest(maxima_M, k)


@compiled
def _raise_maxima(keys_M: Any, bias_M: Floats, maxima_M: Floats) -> None:
    for m in range(maxima_M.shape[0]):
        key, maximum = widened(keys_M[m]) + bias_M[m], maxima_M[m]
        maxima_M[m] = key if key > maximum else maximum


@compiled
def nearly_kth_largest(values_M: Floats, k: int) -> Any:
    """A number that at least k values reach, close to the largest such; by bisection. -inf if there is none."""
    if values_M.shape[0] < k:
        return np.float32(-np.inf)
    low = high = values_M[0]
    for m in range(values_M.shape[0]):
        value = values_M[m]
        low = value if value < low else low
        high = value if value > high else high
    for _ in range(BISECTIONS):
        middle = np.float32(0.5) * (low + high)
        if _count(values_M, middle) >= k:
            low = middle
        else:
            high = middle
    return low


@compiled
def _count(values_M: Floats, floor: np.float32) -> Any:
    """In float32, as below: numba would widen integers to 64 bits, and half as many fit a vector. Exact to 2^24."""
    count = np.float32(0)
    for m in range(values_M.shape[0]):
        count += ONE if values_M[m] >= floor else ZERO
    return count


@compiled
def _count_biased(keys_F: Any, bias_F: Floats, floor: np.float32) -> Any:
    count = np.float32(0)
    for f in range(keys_F.shape[0]):
        count += ONE if widened(keys_F[f]) + bias_F[f] >= floor else ZERO
    return count


@compiled
def _count_in_block(keys_F: Any, bias_F: Floats, floor: np.float32) -> Any:
    """Of a length that the compiler knows, which makes it several times faster."""
    count = np.float32(0)
    for f in range(BLOCK):
        count += ONE if widened(keys_F[f]) + bias_F[f] >= floor else ZERO
    return count


@compiled
def count_above(
    start: int, stop: int, keys_BF: Any, bias_F: Floats, floors_B: Floats, counts_B: Ints
) -> None:
    """How many keys + bias of each row are at or above its floor."""
    for row in range(start, stop):
        counts_B[row] = _count_biased(keys_BF[row], bias_F, floors_B[row])


@compiled
def collect_above(
    start: int,
    stop: int,
    keys_BF: Any,
    bias_F: Floats,
    floors_B: Floats,
    offsets: Ints,
    latents_N: Ints,
    out_N: Floats,
) -> None:
    """The latents, ascending, that count_above counted, and their keys + bias."""
    num_latents = keys_BF.shape[1]
    for row in range(start, stop):
        floor, place = floors_B[row], offsets[row]
        for first in range(0, num_latents, BLOCK):
            last = min(first + BLOCK, num_latents)
            keys_F, some_bias_F = keys_BF[row, first:last], bias_F[first:last]
            if last - first == BLOCK and _count_in_block(keys_F, some_bias_F, floor) == 0:
                continue
            for f in range(last - first):
                key = widened(keys_F[f]) + some_bias_F[f]
                if key >= floor:
                    latents_N[place] = first + f
                    out_N[place] = key
                    place += 1


@compiled
def kth_largest(values_N: Floats, k: int) -> np.float32:
    """Exact, of positive values; 0 if there are fewer."""
    cut = _kth_largest_bits(values_N.view(np.int32), k)
    found = np.float32(0)
    for n in range(values_N.shape[0]):
        if values_N.view(np.int32)[n] == cut:
            found = values_N[n]
    return found


@compiled
def largest_of_rows(start: int, stop: int, offsets: Ints, keys_N: Floats, k: int, mask_N: Any) -> None:
    """Mark the k largest positive keys of each row, of equal ones the first."""
    for row in range(start, stop):
        keys_L, mask_L = keys_N[offsets[row] : offsets[row + 1]], mask_N[offsets[row] : offsets[row + 1]]
        cut = _kth_largest_bits(keys_L.view(np.int32), k)
        spare = k - _count_bits(keys_L.view(np.int32), cut + 1)
        for n in range(keys_L.shape[0]):
            bits = keys_L.view(np.int32)[n]
            tied = bits == cut and spare > 0
            mask_L[n] = bits > cut or tied
            spare -= tied


@compiled
def _kth_largest_bits(bits_L: Any, k: int) -> int:
    """Exact, of positive floats by their bits, which are ordered as they are; 1 at least, so that 0 is never chosen."""
    low, high = 1, 0x7F800001
    while high - low > 1:
        middle = (low + high) >> 1
        if _count_bits(bits_L, middle) >= k:
            low = middle
        else:
            high = middle
    return low


@compiled
def _count_bits(bits_L: Any, floor: int) -> int:
    count, narrow_floor = 0, np.int32(floor)
    for n in range(bits_L.shape[0]):
        count += bits_L[n] >= narrow_floor
    return count
