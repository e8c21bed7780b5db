"""Which rows of a harvest belong to a split, without reading any."""

import numba as nb
import numpy as np
import numpy.typing as npt

from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import HarvestManifest, SplitName

IndexArray = npt.NDArray[np.int64]


class SplitRows:
    """The rows of a split from position `min_position` on, numbered from 0, mapped to rows of the harvest.

    Position 0 is left out by default where sequences are whole: its activations are an attention sink, the same
    in every sequence and many times larger than the rest.

    Args:
        manifest: of the harvest; rows of the harvest are numbered in the order of its shards.
        split: rows of which split.
        min_position: first position of a sequence that counts; null as harvested, but for position 0 of whole
            sequences.

    Raises:
        SpecError: no row of the harvest is left.
    """

    def __init__(self, manifest: HarvestManifest, split: SplitName, min_position: int | None) -> None:
        whole = manifest.selection.keeps_all and manifest.sequence_length > 1
        if min_position is None:
            min_position = 1 if whole else 0
        elif min_position > manifest.selection.min_position and not manifest.selection.keeps_all:
            raise SpecError(
                "min_position",
                min_position,
                allowed=f"null, or 0 to {manifest.selection.min_position}",
                mend=f"Harvest {manifest.harvest_id} stores selected rows only, which are taken as they are.",
            )
        # Selected rows have no place of their own in a sequence: each counts as a sequence of one.
        self._sequence_length = manifest.sequence_length if manifest.selection.keeps_all else 1
        self._min_position = min_position if manifest.selection.keeps_all else 0
        self._rows_per_sequence = max(0, self._sequence_length - self._min_position)
        runs = [run for run in _runs(manifest, split) if self._rows_per_sequence]
        if not runs:
            raise SpecError(
                "split",
                split,
                allowed=sorted({item.split for item in manifest.splits if item.stop > item.start}),
                mend=f"Harvest {manifest.harvest_id} has no row of this split at positions >= {min_position} "
                f"(sequences have {manifest.sequence_length}): pick another split or a smaller min_position.",
            )
        self._first_rows = np.array([first_row for first_row, _ in runs], dtype=np.int64)
        self._sequence_stops = np.cumsum([num_sequences for _, num_sequences in runs], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._sequence_stops[-1]) * self._rows_per_sequence

    def to_harvest_rows(self, numbers_N: IndexArray) -> IndexArray:
        """Row numbers within the split to row numbers within the harvest."""
        numbers_N = np.ascontiguousarray(numbers_N, np.int64)
        assert numbers_N.size == 0 or (numbers_N.min() >= 0 and numbers_N.max() < len(self)), (
            "outside the split"
        )
        rows_N: IndexArray = _to_rows(
            numbers_N,
            self._sequence_stops,
            self._first_rows,
            self._rows_per_sequence,
            self._sequence_length,
            self._min_position,
        )
        return rows_N

    def to_harvest_ranges(self, first: int, stop: int) -> list[tuple[int, int]]:
        """Ranges of rows of the harvest that hold rows [first, stop) of the split, with what lies between them."""
        ranges = []
        starts = np.concatenate([[0], self._sequence_stops[:-1]]) * self._rows_per_sequence
        stops = self._sequence_stops * self._rows_per_sequence
        for run in np.flatnonzero((stops > first) & (starts < stop)):
            ends = np.array([max(first, starts[run]), min(stop, stops[run]) - 1])
            low, high = self.to_harvest_rows(ends).tolist()
            ranges.append((low, high + 1))
        return ranges


@nb.njit(nogil=True, cache=True)
def _to_rows(numbers_N, sequence_stops, first_rows, rows_per_sequence, sequence_length, min_position):  # type: ignore[no-untyped-def]
    rows_N = np.empty(numbers_N.shape[0], np.int64)
    per_row = 1.0 / rows_per_sequence
    for n in range(numbers_N.shape[0]):
        sequence = np.int64(
            numbers_N[n] * per_row
        )  # several times as fast as a division, and off by one at most
        if sequence * rows_per_sequence > numbers_N[n]:
            sequence -= 1
        elif (sequence + 1) * rows_per_sequence <= numbers_N[n]:
            sequence += 1
        low, high = 0, sequence_stops.shape[0] - 1
        while low < high:  # the first run that stops after the sequence
            middle = (low + high) // 2
            if sequence_stops[middle] > sequence:
                high = middle
            else:
                low = middle + 1
        start = sequence_stops[low - 1] if low else 0
        position = numbers_N[n] - sequence * rows_per_sequence
        rows_N[n] = first_rows[low] + (sequence - start) * sequence_length + position + min_position
    return rows_N


def _runs(manifest: HarvestManifest, split: SplitName) -> list[tuple[int, int]]:
    """(first row in the harvest, number of sequences) of each run of the split's sequences in a shard.

    Of a harvest of selected rows: (first row, number of rows) of each shard of the split, since no shard of those
    crosses two splits.
    """
    runs = []
    shard_start_row = 0
    for shard in sorted(manifest.shards, key=lambda item: item.index):
        for item in manifest.splits:
            first = max(shard.first_sequence, item.start)
            stop = min(shard.first_sequence + shard.num_sequences, item.stop)
            if item.split != split or first >= stop:
                continue
            if not manifest.selection.keeps_all:
                runs.append((shard_start_row, shard.num_rows))
            else:
                offset = (first - shard.first_sequence) * manifest.sequence_length
                runs.append((shard_start_row + offset, stop - first))
        shard_start_row += shard.num_rows
    return runs
