"""Which latents fire most often with each, from a bounded sample of the rows on which each fires.

Shapes: F latents, S rows sampled of each, O other latents kept of a row, M neighbours, R rows, N codes.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from thresher.activations.codes_reader import CodesShard
from thresher.features.best_windows import LARGEST
from thresher.features.loops import Int32s, Int64s, UInt64s, mix
from thresher.latents.kernels.threads import compiled, for_ranges

NUM_ROWS = 32
"""Rows sampled a latent: a share of them is known to about a tenth."""
NUM_OTHERS = 48
"""Other latents kept of a sampled row, the strongest. Memory is latents x NUM_ROWS x NUM_OTHERS integers at most."""


class CofiringSample:
    """Of each latent, rows of lowest priority on which it fires, and what else fires there.

    A counter for every pair of latents would take their square; a sample of all rows would miss rare latents.
    """

    def __init__(self, num_latents: int, state_F: UInt64s) -> None:
        """`state_F` is the hash of seed and latent."""
        self._state_F = state_F
        self._counts_F = np.zeros(num_latents, np.int32)
        self._priorities_FS = np.empty((num_latents, NUM_ROWS), np.uint64)
        self._worst_F = np.full(num_latents, LARGEST, np.uint64)
        self._others_FSO = np.empty((num_latents, NUM_ROWS, NUM_OTHERS), np.int32)

    def add(self, shard: CodesShard, counted_R: npt.NDArray[np.bool_]) -> None:
        first_address = shard.first_sequence * shard.sequence_length
        _sample_rows(
            shard.row_offsets,
            shard.latents,
            shard.values,
            counted_R,
            np.uint64(first_address),
            self._state_F,
            self._counts_F,
            self._priorities_FS,
            self._worst_F,
            self._others_FSO,
        )

    def neighbours(self, num_active_F: Int64s, count: int) -> Int32s:
        """[F, M]: the latents nearest by the cosine of firing, -1 where there are no more.

        The cosine of f and g is that of their firing as vectors of zeros and ones, n_fg / sqrt(n_f n_g), where n_fg
        is estimated as n_f x the share of f's sampled rows on which g fires, and is no more than n_g. Latents that
        fire on nearly every row are so no neighbours of all. Equal ones go by number.
        """
        neighbours_FM = np.full((len(num_active_F), count), -1, np.int32)
        for_ranges(_nearest, len(num_active_F), self._counts_F, self._others_FSO, num_active_F, neighbours_FM)
        return neighbours_FM


@compiled
def _sample_rows(
    row_offsets: Int64s,
    latents_N: Int32s,
    values_N: npt.NDArray[np.float32],
    counted_R: npt.NDArray[np.bool_],
    first_address: Any,
    state_F: UInt64s,
    counts_F: Int32s,
    priorities_FS: UInt64s,
    worst_F: UInt64s,
    others_FSO: npt.NDArray[np.int32],
) -> None:
    num_rows, num_others = others_FSO.shape[1], others_FSO.shape[2]
    for row in range(counted_R.shape[0]):
        if not counted_R[row]:
            continue
        first, last = row_offsets[row], row_offsets[row + 1]
        by_strength = np.empty(0, np.int64)
        for code in range(first, last):
            latent = latents_N[code]
            order = mix(state_F[latent] ^ (first_address + np.uint64(row)))
            if order >= worst_F[latent]:
                continue
            if len(by_strength) == 0:
                by_strength = first + np.argsort(-values_N[first:last], kind="mergesort")
            place = counts_F[latent]
            if place < num_rows:
                counts_F[latent] = place + 1
            else:
                place = np.argmax(priorities_FS[latent])
            priorities_FS[latent, place] = order
            if counts_F[latent] == num_rows:
                worst_F[latent] = priorities_FS[latent].max()
            num_kept = 0
            for other in by_strength:
                if other != code and num_kept < num_others:
                    others_FSO[latent, place, num_kept] = latents_N[other]
                    num_kept += 1
            others_FSO[latent, place, num_kept:] = -1


@compiled
def _nearest(
    start: int,
    stop: int,
    counts_F: Int32s,
    others_FSO: npt.NDArray[np.int32],
    num_active_F: Int64s,
    neighbours_FM: Int32s,
) -> None:
    count_F = np.zeros(num_active_F.shape[0], np.int64)
    found = np.empty(others_FSO.shape[1] * others_FSO.shape[2], np.int32)
    for latent in range(start, stop):
        num_found = 0
        for row in range(counts_F[latent]):
            for other in others_FSO[latent, row]:
                if other < 0:
                    break
                if count_F[other] == 0:
                    found[num_found] = other
                    num_found += 1
                count_F[other] += 1
        for rank in range(min(neighbours_FM.shape[1], num_found)):
            best, best_cosine = -1, -1.0
            for other in found[:num_found]:
                # The cosine, squared and times what is the same for every other latent.
                together = min(
                    count_F[other] * num_active_F[latent], num_active_F[other] * np.int64(counts_F[latent])
                )
                cosine = np.float64(together) * np.float64(together) / np.float64(num_active_F[other])
                is_free = count_F[other] > 0
                if is_free and (cosine > best_cosine or (cosine == best_cosine and other < best)):
                    best, best_cosine = other, cosine
            neighbours_FM[latent, rank] = best
            count_F[best] = 0  # taken
        for other in found[:num_found]:
            count_F[other] = 0
