"""The windows of lowest order of each latent, of distinct documents, over a stream of shards.

Shapes: F latents, L windows kept of each.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from thresher.activations.priority import UInt64s, priority
from thresher.features.windows import WINDOW_PEAK, WindowPeaks

Latents = npt.NDArray[np.integer]
Windows = npt.NDArray[np.void]
"""Records with `sequence` and `window`, and `peak` where it matters."""
LARGEST = np.iinfo(np.uint64).max


class KeptWindows(NamedTuple):
    """Of each latent, in no order; only the first `counts_F` of each row mean anything."""

    counts_F: npt.NDArray[np.int32]
    worst_F: UInt64s
    """An order must be below this to be kept."""
    at_worst_F: npt.NDArray[np.int32]
    orders_FL: UInt64s
    documents_FL: UInt64s
    sequences_FL: npt.NDArray[np.int32]
    windows_FL: npt.NDArray[np.int32]
    positions_FL: npt.NDArray[np.int32]
    peaks_FL: npt.NDArray[np.float32]


def none_kept(num_latents: int, limit: int) -> KeptWindows:
    """Room for `limit` windows of each latent; pages of latents that never fire are never touched."""
    shape = (num_latents, limit)
    return KeptWindows(
        counts_F=np.zeros(num_latents, np.int32),
        worst_F=np.full(num_latents, LARGEST, np.uint64),
        at_worst_F=np.zeros(num_latents, np.int32),
        orders_FL=np.empty(shape, np.uint64),
        documents_FL=np.empty(shape, np.uint64),
        sequences_FL=np.empty(shape, np.int32),
        windows_FL=np.empty(shape, np.int32),
        positions_FL=np.empty(shape, np.int32),
        peaks_FL=np.empty(shape, np.float32),
    )


def best_of(kept: KeptWindows) -> tuple[WindowPeaks, UInt64s]:
    """The windows kept and their orders, sorted by (latent, order)."""
    is_kept_FL = np.arange(kept.orders_FL.shape[1]) < kept.counts_F[:, None]
    latents, places = np.nonzero(is_kept_FL)
    orders = kept.orders_FL[latents, places]
    by_order = np.lexsort((orders, latents))
    latents, places = latents[by_order], places[by_order]
    best = np.empty(len(latents), WINDOW_PEAK)
    best["latent"] = latents
    for name, column in (
        ("sequence", kept.sequences_FL),
        ("window", kept.windows_FL),
        ("position", kept.positions_FL),
        ("document", kept.documents_FL),
        ("peak", kept.peaks_FL),
    ):
        best[name] = column[latents, places]
    return best, orders[by_order]


def strongest_first(latents: Latents, windows: Windows, seed: int) -> UInt64s:
    """Order by peak, strongest first; equal peaks at random, so that early sequences are not preferred."""
    bits = windows["peak"].copy().view(np.uint32)  # positive floats sort as their bits do
    return (np.uint64(0xFFFFFFFF) - bits.astype(np.uint64) << np.uint64(32)) | (
        at_random(latents, windows, seed) >> np.uint64(32)
    )


def at_random(latents: Latents, windows: Windows, seed: int) -> UInt64s:
    """A seeded uniform order of the windows of each latent."""
    return priority(seed, latents, windows["sequence"], windows["window"])


def rank_in_group(sorted_groups: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """0, 1, 2, … within each run of equal values."""
    index = np.arange(len(sorted_groups))
    is_start = np.diff(sorted_groups, prepend=sorted_groups[:1] - 1) != 0
    start: npt.NDArray[np.int64] = np.maximum.accumulate(np.where(is_start, index, 0))
    return index - start
