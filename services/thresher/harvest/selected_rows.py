"""Which rows of a step are stored, and as which positions of which sequences.

Shape suffixes: N rows of the step, K rows kept, L positions of a sequence.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from thresher.activations.row_selection import RowSelector
from thresher.activations.sequences import Sequences
from thresher.harvest.runner_adapter import RequestRows
from thresher.harvest.shard_sink import SequenceRows

Mask = npt.NDArray[np.bool_]
REQUEST_PREFIX = "sequence-"


def request_id(sequence: int) -> str:
    """The name under which a sequence goes through the engine."""
    return f"{REQUEST_PREFIX}{sequence}"


def sequence_of(request: str) -> int:
    """The sequence of a request; vLLM may have appended `-{random}` to its name."""
    return int(request.removeprefix(REQUEST_PREFIX).split("-", 1)[0])


@dataclass(frozen=True)
class TakenRows:
    """The rows of one step that are stored."""

    sequences: list[SequenceRows]
    numbers_K: npt.NDArray[np.int64]
    """Rows of the step, in the order in which `sequences` count them."""

    def gather(self, x_ND: torch.Tensor) -> torch.Tensor:
        """x_KD: a view where the rows lie side by side."""
        if not self.numbers_K.size:
            return x_ND[:0]
        first, last = int(self.numbers_K[0]), int(self.numbers_K[-1])
        if last - first + 1 == self.numbers_K.size:
            return x_ND[first : last + 1]
        return x_ND.index_select(0, torch.from_numpy(self.numbers_K).to(x_ND.device))


class SelectedRows:
    """The selection's masks of the sequences that are being harvested."""

    def __init__(self, selector: RowSelector) -> None:
        self._selector = selector
        self._masks: dict[int, npt.NDArray[np.bool_]] = {}
        self._stops: dict[int, int] = {}

    @property
    def is_open(self) -> bool:
        """Whether any sequence is wanted."""
        return bool(self._masks)

    def open(self, sequences: Sequences, start: int, stop: int) -> Mask:
        """Sequences [start, stop) are wanted from now on; their mask [stop - start, L]."""
        mask = self._selector.mask(sequences, start, stop)
        self._stops[start] = stop
        for sequence, mask_L in zip(range(start, stop), mask, strict=True):
            self._masks[sequence] = mask_L
        return mask

    def close(self, start: int) -> None:
        """The sequences opened from `start` on have come."""
        for sequence in range(start, self._stops.pop(start)):
            del self._masks[sequence]

    def take(self, requests: list[RequestRows]) -> TakenRows:
        """The rows of a step that are wanted; those of other ranks' sequences are not."""
        sequences: list[SequenceRows] = []
        parts: list[npt.NDArray[np.int64]] = []
        count = 0
        for item in requests:
            mask_L = self._masks.get(sequence_of(item.request_id))
            if mask_L is None:
                continue
            kept = np.flatnonzero(mask_L[item.start : item.start + item.count])
            sequences.append(
                SequenceRows(
                    sequence=sequence_of(item.request_id),
                    start=item.start,
                    num_positions=item.count,
                    first_row=count,
                    stop_row=count + len(kept),
                )
            )
            parts.append(kept + item.first_row)
            count += len(kept)
        return TakenRows(sequences, np.concatenate(parts) if parts else np.empty(0, np.int64))
