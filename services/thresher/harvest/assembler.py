"""From rows in the engine's order to whole sequences in the shard's order, with coverage asserted.

Shapes: L tokens a sequence, D width of the site.
"""

from collections.abc import Mapping

import torch

from thresher.contracts.errors import ThresherError


class CoverageError(ThresherError):
    """Rows are missing, doubled or not finite: the shard is not committed."""


class SequenceAssembler:
    """Collects the rows of a range of sequences and hands them on in order, each once, each whole."""

    def __init__(
        self, sites: list[str], first_sequence: int, num_sequences: int, sequence_length: int
    ) -> None:
        self._sites = sites
        self._next = self._first = first_sequence
        self._stop = first_sequence + num_sequences
        self._length = sequence_length
        self._open: dict[int, dict[str, torch.Tensor]] = {}
        self._filled: dict[int, int] = {}

    def add(self, sequence: int, start: int, rows: Mapping[str, torch.Tensor]) -> None:
        """Take positions [start, start + n) of a sequence, rows [n, D] a site.

        Rows of a sequence arrive in order of position. A request that vLLM preempted starts again at 0 and
        replaces what it gave before.
        """
        if not self._next <= sequence < self._stop:
            raise CoverageError(f"Rows of sequence {sequence} came twice or belong to another shard.")
        if start == 0:
            self._filled[sequence] = 0
        filled = self._filled.get(sequence, 0)
        count = next(iter(rows.values())).shape[0]
        if start != filled or filled + count > self._length:
            raise CoverageError(
                f"Sequence {sequence} has positions 0 to {filled}, then came {start} to {start + count} "
                f"of {self._length}."
            )
        if set(rows) != set(self._sites):
            raise CoverageError(f"Sites {sorted(set(self._sites) - set(rows))} gave no rows.")
        self._store(sequence, start, count, rows)
        self._filled[sequence] = filled + count

    def _store(self, sequence: int, start: int, count: int, rows: Mapping[str, torch.Tensor]) -> None:
        buffers = self._open.setdefault(sequence, {})
        for site, x_ND in rows.items():
            if x_ND.shape[0] != count:
                raise CoverageError(f"{site} gave {x_ND.shape[0]} rows of sequence {sequence}, not {count}.")
            if site not in buffers:
                buffers[site] = torch.empty(self._length, x_ND.shape[1], dtype=x_ND.dtype)
            buffers[site][start : start + count].copy_(x_ND)

    def take_whole(self, group: int) -> list[dict[str, torch.Tensor]]:
        """The next sequences in order, if `group` of them (or all that are left) are whole; else none.

        Each is rows [L, D] a site, all finite.
        """
        stop = min(self._next + group, self._stop)
        ready = range(self._next, stop)
        if not ready or any(self._filled.get(sequence, 0) != self._length for sequence in ready):
            return []
        taken = [self._open.pop(sequence) for sequence in ready]
        for sequence, buffers in zip(ready, taken, strict=True):
            self._check_finite(sequence, buffers)
            del self._filled[sequence]
        self._next = stop
        return taken

    @staticmethod
    def _check_finite(sequence: int, buffers: Mapping[str, torch.Tensor]) -> None:
        for site, x_LD in buffers.items():
            if not torch.isfinite(x_LD).all():
                position = int((~torch.isfinite(x_LD)).any(dim=1).nonzero()[0])
                raise CoverageError(f"{site} is not finite at sequence {sequence}, position {position}.")

    def assert_complete(self) -> None:
        """Every expected (sequence, position) was handed on."""
        if self._next != self._stop:
            raise CoverageError(f"Sequences {self._next} to {self._stop - 1} of the shard are not whole.")
