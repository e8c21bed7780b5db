"""The inner loops of the sparse kernels on the CPU, compiled; plain arrays in, ranges of rows or latents.

Four codes are taken at once wherever vectors are summed or multiplied, so that the accumulators stay in registers; a
last group of fewer is filled up by a code of value 0, or by the last code again, so that a result depends on its own
operands and never on its place in a group.

Shape suffixes: B rows, D width of the vectors, F latents, K codes.
"""

import numpy as np
from numpy.typing import NDArray

from thresher.latents.kernels.threads import compiled

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@compiled
def sum_vectors(
    start: int, stop: int, offsets: Ints, vector_of_code: Ints, values_K: Floats, vectors: Floats, out: Floats
) -> None:
    """out[i] = sum over codes in offsets[i]:offsets[i + 1] of value * vectors[vector_of_code]."""
    width = vectors.shape[1]
    for i in range(start, stop):
        first, last = offsets[i], offsets[i + 1]
        sum_D = out[i]
        for d in range(width):
            sum_D[d] = 0.0
        code = first
        while code + 4 <= last:
            a = vectors[vector_of_code[code]]
            b = vectors[vector_of_code[code + 1]]
            c = vectors[vector_of_code[code + 2]]
            e = vectors[vector_of_code[code + 3]]
            u, v, w, x = values_K[code], values_K[code + 1], values_K[code + 2], values_K[code + 3]
            for d in range(width):
                sum_D[d] += (u * a[d] + v * b[d]) + (w * c[d] + x * e[d])
            code += 4
        while code < last:
            a = vectors[vector_of_code[code]]
            u = values_K[code]
            for d in range(width):
                sum_D[d] += u * a[d]
            code += 1


@compiled
def sum_values(offsets: Ints, values_K: Floats, out: Floats) -> None:
    """out[i] = sum over codes in offsets[i]:offsets[i + 1] of value."""
    for i in range(out.shape[0]):
        total = np.float32(0)
        for code in range(offsets[i], offsets[i + 1]):
            total += values_K[code]
        out[i] = total


@compiled
def dot_vectors(
    start: int, stop: int, offsets: Ints, vector_of_code: Ints, rows: Floats, vectors: Floats, out_K: Floats
) -> None:
    """out[code] = rows[i] . vectors[vector_of_code] for the codes in offsets[i]:offsets[i + 1]."""
    width = vectors.shape[1]
    for i in range(start, stop):
        last = offsets[i + 1]
        row_D = rows[i]
        for code in range(offsets[i], last, 4):
            second, third, fourth = min(code + 1, last - 1), min(code + 2, last - 1), min(code + 3, last - 1)
            a = vectors[vector_of_code[code]]
            b = vectors[vector_of_code[second]]
            c = vectors[vector_of_code[third]]
            e = vectors[vector_of_code[fourth]]
            s = t = u = v = np.float32(0)
            for d in range(width):
                s += row_D[d] * a[d]
                t += row_D[d] * b[d]
                u += row_D[d] * c[d]
                v += row_D[d] * e[d]
            out_K[code] = s
            out_K[second] = t
            out_K[third] = u
            out_K[fourth] = v


@compiled
def count_latents(latents_K: Ints, starts_F: Ints) -> None:
    """starts[f + 1] += number of codes of latent f."""
    for code in range(latents_K.shape[0]):
        starts_F[latents_K[code] + 1] += 1


@compiled
def place_codes(
    row_offsets: Ints, latents_K: Ints, next_F: Ints, code_of_place: Ints, row_of_place: Ints
) -> None:
    """Counting sort by latent, rows ascending within one; next_F holds each latent's first place."""
    for row in range(row_offsets.shape[0] - 1):
        for code in range(row_offsets[row], row_offsets[row + 1]):
            place = next_F[latents_K[code]]
            next_F[latents_K[code]] = place + 1
            code_of_place[place] = code
            row_of_place[place] = row
