"""Windows of a sequence, and where each latent peaks in them.

Shapes: N codes, W windows a sequence.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from thresher.activations.codes_reader import CodesShard
from thresher.contracts.errors import SpecError

WINDOW_PEAK = np.dtype(
    [
        ("latent", np.int32),
        ("sequence", np.int32),
        ("window", np.int32),  # within the sequence
        ("position", np.int32),  # of the peak, the first if there are several
        ("document", np.uint64),  # hash of the doc_id at the peak
        ("peak", np.float32),
    ]
)
"""One entry a latent and window in which it fires."""
WindowPeaks = npt.NDArray[np.void]


@dataclass(frozen=True)
class WindowGrid:
    """Windows of `length` tokens tile the positions [min_position, sequence_length).

    The last one is moved left until it is full: it overlaps the one before unless the length divides evenly.
    """

    sequence_length: int
    min_position: int
    length: int

    def __post_init__(self) -> None:
        if self.length > self.sequence_length - self.min_position:
            raise SpecError(
                "context_tokens",
                self.length,
                allowed=f"1 to {self.sequence_length - self.min_position}",
                mend=f"Sequences have {self.sequence_length} tokens; windows start at {self.min_position}.",
            )

    @cached_property
    def starts(self) -> npt.NDArray[np.int32]:
        """[W]: first position of each window."""
        starts = np.arange(self.min_position, self.sequence_length, self.length, dtype=np.int32)
        return np.minimum(starts, self.sequence_length - self.length).astype(np.int32)

    @property
    def num_windows(self) -> int:
        """Windows a sequence."""
        return len(self.starts)


def find_peaks(shard: CodesShard, documents: npt.NDArray[np.uint64], grid: WindowGrid) -> WindowPeaks:
    """Every (latent, window) of the shard in which the latent fires, with the first row of its peak.

    `documents` holds the hash of each of the shard's `doc_ids`.
    """
    by_latent = shard.by_latent()
    rows = shard.rows_of_codes()[by_latent]
    positions = rows % shard.sequence_length
    windows = (positions - grid.min_position) // grid.length
    last = grid.num_windows - 1
    in_last = positions >= grid.starts[last]
    before_last = (positions >= grid.min_position) & (windows < last)
    found = [
        _peaks_of_windows(shard, documents, by_latent[kept], rows[kept], windows[kept])
        for kept, windows in ((before_last, windows), (in_last, np.full_like(windows, last)))
    ]
    return np.concatenate(found)


def _peaks_of_windows(
    shard: CodesShard,
    documents: npt.NDArray[np.uint64],
    codes: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    windows: npt.NDArray[np.int64],
) -> WindowPeaks:
    """Peaks of codes that are sorted by (latent, row); `windows` says which window each belongs to."""
    if len(codes) == 0:
        return np.zeros(0, WINDOW_PEAK)
    latents, values, sequences = shard.latents[codes], shard.values[codes], rows // shard.sequence_length
    is_start = np.ones(len(codes), bool)
    is_start[1:] = (np.diff(latents) != 0) | (np.diff(sequences) != 0) | (np.diff(windows) != 0)
    starts = np.flatnonzero(is_start)
    group = np.cumsum(is_start) - 1
    at_peak = np.flatnonzero(values == np.maximum.reduceat(values, starts)[group])
    first_at_peak = at_peak[np.diff(group[at_peak], prepend=-1) != 0]
    peaks = np.empty(len(starts), WINDOW_PEAK)
    peak_rows = rows[first_at_peak]
    peaks["latent"] = latents[first_at_peak]
    peaks["sequence"] = shard.first_sequence + sequences[first_at_peak]
    peaks["window"] = windows[first_at_peak]
    peaks["position"] = peak_rows % shard.sequence_length
    peaks["document"] = documents[shard.documents[peak_rows]]
    peaks["peak"] = values[first_at_peak]
    return peaks
