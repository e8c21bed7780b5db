"""From rows in the engine's order to whole sequences in the shard's order, with coverage asserted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from thresher.activations.row_encoding import EncodedRows
from thresher.contracts.errors import ThresherError


class CoverageError(ThresherError):
    """Rows are missing, doubled or not finite: the shard is not committed."""


@dataclass
class _Open:
    num_positions: int = 0
    chunks: list[Mapping[str, EncodedRows]] = field(default_factory=list)


class SequenceAssembler:
    """Collects the rows of a range of sequences and hands them on in order, each once, each whole."""

    def __init__(
        self, sites: list[str], first_sequence: int, num_sequences: int, sequence_length: int
    ) -> None:
        self._sites = set(sites)
        self._next = first_sequence
        self._stop = first_sequence + num_sequences
        self._length = sequence_length
        self._open: dict[int, _Open] = {}

    def add(self, sequence: int, start: int, num_positions: int, rows: Mapping[str, EncodedRows]) -> None:
        """Take the selected rows among positions [start, start + num_positions) of a sequence.

        Rows of a sequence arrive in order of position. A request that vLLM preempted starts again at 0 and
        replaces what it gave before.

        Raises:
            CoverageError: they do not follow what came before, or a site is missing.
        """
        if not self._next <= sequence < self._stop:
            raise CoverageError(f"Rows of sequence {sequence} came twice or belong to another shard.")
        if start == 0:
            self._open[sequence] = _Open()
        found = self._open.setdefault(sequence, _Open())
        if start != found.num_positions or start + num_positions > self._length:
            raise CoverageError(
                f"Sequence {sequence} has positions 0 to {found.num_positions}, then came {start} to "
                f"{start + num_positions} of {self._length}."
            )
        self._check_sites(sequence, rows)
        found.num_positions += num_positions
        found.chunks.append(rows)

    def _check_sites(self, sequence: int, rows: Mapping[str, EncodedRows]) -> None:
        if set(rows) != self._sites:
            raise CoverageError(f"Sites {sorted(self._sites - set(rows))} gave no rows.")
        counts = {site: item.num_rows for site, item in rows.items()}
        if len(set(counts.values())) != 1:
            raise CoverageError(f"Sites gave different numbers of rows of sequence {sequence}: {counts}.")

    def take_whole(self, group: int) -> list[list[Mapping[str, EncodedRows]]]:
        """The chunks of the next sequences, if `group` of them (or all that are left) are whole; else none."""
        ready = range(self._next, min(self._next + group, self._stop))
        if any(
            sequence not in self._open or self._open[sequence].num_positions != self._length
            for sequence in ready
        ):
            return []
        self._next = ready.stop
        return [self._open.pop(sequence).chunks for sequence in ready]

    def assert_complete(self) -> None:
        """Every expected (sequence, position) was handed on."""
        if self._next != self._stop:
            raise CoverageError(f"Sequences {self._next} to {self._stop - 1} of the shard are not whole.")
