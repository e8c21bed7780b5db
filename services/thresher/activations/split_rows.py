"""Which rows of a harvest belong to a split, without reading any."""

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
        sequence_N, position_N = np.divmod(numbers_N, self._rows_per_sequence)
        run_N = np.searchsorted(self._sequence_stops, sequence_N, side="right")
        starts = np.concatenate([[0], self._sequence_stops[:-1]])
        within_N = (sequence_N - starts[run_N]) * self._sequence_length
        return np.asarray(self._first_rows[run_N] + within_N + position_N + self._min_position)


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
