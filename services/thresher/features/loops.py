"""The loops over the codes of a shard, compiled.

Hashes are those of activations/priority.py. Shapes: R rows, N codes, F latents, L windows kept of a latent, W windows
a sequence, V windows offered, E entries, C tokens of a window.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from thresher.features.best_windows import KeptWindows
from thresher.latents.kernels.threads import compiled

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]
UInt64s = NDArray[np.uint64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

GOLDEN, FIRST_FACTOR, SECOND_FACTOR = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)
SHIFT_30, SHIFT_27, SHIFT_31, SHIFT_32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)
LARGEST_32 = np.uint64(0xFFFFFFFF)


@compiled
def mix(state: Any) -> Any:
    """The finaliser of SplitMix64, of a uint64."""
    z = state + GOLDEN
    z = (z ^ (z >> SHIFT_30)) * FIRST_FACTOR
    z = (z ^ (z >> SHIFT_27)) * SECOND_FACTOR
    return z ^ (z >> SHIFT_31)


@compiled
def count_codes(
    row_offsets: Int64s,
    latents_N: Int32s,
    values_N: Floats,
    counted_R: NDArray[np.bool_],
    edges: Doubles,
    num_active_F: Int64s,
    sum_F: Doubles,
    max_F: Floats,
    histogram_FB: Int64s,
) -> None:
    """Add the codes of the counted rows to counts, sums, maxima and histograms."""
    last_bin = histogram_FB.shape[1] - 1
    for row in range(counted_R.shape[0]):
        if not counted_R[row]:
            continue
        for code in range(row_offsets[row], row_offsets[row + 1]):
            latent, value = latents_N[code], values_N[code]
            num_active_F[latent] += 1
            sum_F[latent] += value
            if value > max_F[latent]:
                max_F[latent] = value
            place = np.searchsorted(edges, value, side="right") - 1
            histogram_FB[latent, min(max(place, 0), last_bin)] += 1


@compiled
def keep_window(
    kept: KeptWindows,
    latent: Any,
    order: Any,
    document: Any,
    sequence: Any,
    window: Any,
    position: Any,
    peak: Any,
) -> None:
    """Keep a window if it is among the best of its latent, one a document.

    A document that is not among the kept ones has no window below the worst kept order, or it would be: so a window
    below it is its document's best, whatever was seen before.
    """
    if order >= kept.worst_F[latent]:
        return
    count, limit = kept.counts_F[latent], kept.orders_FL.shape[1]
    place = -1
    for other in range(count):
        if kept.documents_FL[latent, other] == document:
            if kept.orders_FL[latent, other] <= order:
                return
            place = other
            break
    if place < 0:
        if count < limit:
            place = count
            kept.counts_F[latent] = count + 1
        else:
            place = kept.at_worst_F[latent]
    kept.orders_FL[latent, place] = order
    kept.documents_FL[latent, place] = document
    kept.sequences_FL[latent, place] = sequence
    kept.windows_FL[latent, place] = window
    kept.positions_FL[latent, place] = position
    kept.peaks_FL[latent, place] = peak
    if kept.counts_F[latent] == limit:
        worst = 0
        for other in range(1, limit):
            if kept.orders_FL[latent, other] > kept.orders_FL[latent, worst]:
                worst = other
        kept.at_worst_F[latent] = worst
        kept.worst_F[latent] = kept.orders_FL[latent, worst]


@compiled
def offer_windows(
    row_offsets: Int64s,
    latents_N: Int32s,
    values_N: Floats,
    bits_N: NDArray[np.uint32],
    documents_R: Int32s,
    hash_of_document: UInt64s,
    first_rows_V: Int64s,
    sequences_V: Int32s,
    windows_V: Int32s,
    length: int,
    sequence_length: int,
    state_F: UInt64s,
    top: KeptWindows,
    sample: KeptWindows,
) -> None:
    """Find where each latent peaks in each window, first where several tokens are as strong, and offer it to both.

    `bits_N` are the values' bits, `state_F` is the hash of seed and latent.
    """
    num_latents = state_F.shape[0]
    slot_F = np.full(num_latents, -1, np.int32)
    found_latents = np.empty(num_latents, np.int32)
    found_codes = np.empty(num_latents, np.int64)
    found_rows = np.empty(num_latents, np.int64)
    for v in range(first_rows_V.shape[0]):
        num_found = 0
        for row in range(first_rows_V[v], first_rows_V[v] + length):
            for code in range(row_offsets[row], row_offsets[row + 1]):
                slot = slot_F[latents_N[code]]
                if slot < 0:
                    slot_F[latents_N[code]] = num_found
                    found_latents[num_found] = latents_N[code]
                    found_codes[num_found], found_rows[num_found] = code, row
                    num_found += 1
                elif values_N[code] > values_N[found_codes[slot]]:
                    found_codes[slot], found_rows[slot] = code, row
        sequence, window = sequences_V[v], windows_V[v]
        for slot in range(num_found):
            latent, code, row = found_latents[slot], found_codes[slot], found_rows[slot]
            slot_F[latent] = -1
            order = mix(mix(state_F[latent] ^ np.uint64(sequence)) ^ np.uint64(window))
            strength = ((LARGEST_32 - np.uint64(bits_N[code])) << SHIFT_32) | (order >> SHIFT_32)
            if strength >= top.worst_F[latent] and order >= sample.worst_F[latent]:
                continue
            document, peak = hash_of_document[documents_R[row]], values_N[code]
            position = row % sequence_length
            keep_window(top, latent, strength, document, sequence, window, position, peak)
            keep_window(sample, latent, order, document, sequence, window, position, peak)


@compiled
def distinct_pairs(
    latents_N: Int32s,
    lows_V: Int64s,
    highs_V: Int64s,
    numbers_V: Int64s,
    num_windows: int,
    num_latents: int,
    out: Int64s,
) -> int:
    """latent x num_windows + number of each latent of the codes low to high of each window, once; gives how many."""
    seen_F = np.full(num_latents, -1, np.int64)
    count = 0
    for v in range(lows_V.shape[0]):
        for code in range(lows_V[v], highs_V[v]):
            latent = latents_N[code]
            if seen_F[latent] != v:
                seen_F[latent] = v
                out[count] = np.int64(latent) * num_windows + numbers_V[v]
                count += 1
    return count


@compiled
def activations_in_windows(
    start: int,
    stop: int,
    features_E: Int32s,
    first_rows_E: Int64s,
    row_offsets: Int64s,
    latents_N: Int32s,
    values_N: Floats,
    out_EC: Floats,
) -> None:
    """out[e] = the feature's activations in the window that begins at the row; latents ascend within a row."""
    for entry in range(start, stop):
        feature = features_E[entry]
        for token in range(out_EC.shape[1]):
            row = first_rows_E[entry] + token
            low, high = row_offsets[row], row_offsets[row + 1]
            last = high
            while low < high:
                middle = (low + high) // 2
                if latents_N[middle] < feature:
                    low = middle + 1
                else:
                    high = middle
            found = low < last and latents_N[low] == feature
            out_EC[entry, token] = values_N[low] if found else np.float32(0)
