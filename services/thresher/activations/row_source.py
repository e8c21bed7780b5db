"""Rows of a target by number: of one site, of two, of several side by side, pooled or mixed.

Shape suffixes: N rows asked for, B rows of a batch, D width of the input, E width of the output.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from thresher.activations.dense_reader import DenseSite
from thresher.activations.recycled_arrays import RecycledArrays
from thresher.activations.row_gather import FloatArray, IndexArray
from thresher.activations.row_pairs import RowPairs
from thresher.activations.shuffle import RowRange
from thresher.activations.split_rows import SplitRows


class RowSource(Protocol):
    """Pairs of rows, numbered from 0."""

    @property
    def input_widths(self) -> Sequence[int]:
        """Of the sites that stand side by side in a row that is read; they add up to D."""

    @property
    def output_widths(self) -> Sequence[int]:
        """Of those in a row that is reconstructed; they add up to E."""

    @property
    def is_reconstruction(self) -> bool:
        """Whether what is reconstructed is what is read, so that both are one tensor."""

    @property
    def row_bytes(self) -> int:
        """Stored bytes that are read for a pair."""

    def __len__(self) -> int: ...

    def gather_into(self, pairs: "PairArrays", numbers_N: IndexArray, places_N: IndexArray) -> None:
        """Write pair numbers_N[n] to place places_N[n]."""

    def expect(self, ranges: Iterable[RowRange]) -> None:
        """Ranges of numbers that will be asked for soon; replaces those of the last call."""


@dataclass(frozen=True)
class PairArrays:
    """Where pairs are written to; `y_BE` is `x_BD` of a reconstruction."""

    x_BD: FloatArray
    y_BE: FloatArray


def gather_pairs(source: RowSource, numbers_N: IndexArray, arrays: RecycledArrays | None = None) -> RowPairs:
    """Pairs by number, in the order asked for, float32; in recycled memory, if there is some."""
    arrays = arrays or RecycledArrays()
    count = len(numbers_N)
    x_BD = arrays.empty(count, sum(source.input_widths))
    y_BE = x_BD if source.is_reconstruction else arrays.empty(count, sum(source.output_widths))
    source.gather_into(PairArrays(x_BD, y_BE), np.asarray(numbers_N, np.int64), np.arange(count))
    x = torch.from_numpy(x_BD)
    return RowPairs(x, x if y_BE is x_BD else torch.from_numpy(y_BE))


@dataclass(frozen=True)
class SiteColumns:
    """The rows of a split at one site of a harvest."""

    site: DenseSite
    rows: SplitRows
    factor: float = 1.0
    """What rows are multiplied by."""


class AlignedRows:
    """Rows of sites that have the same addresses: number i is one place in the text, whatever the site.

    Args:
        inputs: side by side in x.
        outputs: side by side in y; None reconstructs x.
    """

    def __init__(self, inputs: Sequence[SiteColumns], outputs: Sequence[SiteColumns] | None = None) -> None:
        self._inputs, self._outputs = tuple(inputs), tuple(outputs or ())
        assert len({len(columns.rows) for columns in self._all}) == 1, "aligned sites have rows one to one"

    @property
    def input_widths(self) -> Sequence[int]:
        return [columns.site.width for columns in self._inputs]

    @property
    def output_widths(self) -> Sequence[int]:
        return [columns.site.width for columns in self._outputs or self._inputs]

    @property
    def is_reconstruction(self) -> bool:
        return not self._outputs

    @property
    def row_bytes(self) -> int:
        return sum(columns.site.row_bytes for columns in self._all)

    def __len__(self) -> int:
        return len(self._inputs[0].rows)

    def gather_into(self, pairs: PairArrays, numbers_N: IndexArray, places_N: IndexArray) -> None:
        _gather_side_by_side(self._inputs, pairs.x_BD, numbers_N, places_N)
        _gather_side_by_side(self._outputs, pairs.y_BE, numbers_N, places_N)

    def expect(self, ranges: Iterable[RowRange]) -> None:
        wanted = list(ranges)
        for columns in self._all:
            columns.site.expect(
                [part for first, stop in wanted for part in columns.rows.to_harvest_ranges(first, stop)]
            )

    @property
    def _all(self) -> tuple[SiteColumns, ...]:
        return self._inputs + self._outputs


def _gather_side_by_side(
    sites: Sequence[SiteColumns], out: FloatArray, numbers_N: IndexArray, places_N: IndexArray
) -> None:
    start = 0
    for columns in sites:
        own = out[:, start : start + columns.site.width]
        columns.site.gather_into(own, columns.rows.to_harvest_rows(numbers_N), places_N, columns.factor)
        start += columns.site.width


class StackedRows:
    """Sources of the same widths, one after another: sites that are pooled, or harvests that are mixed."""

    def __init__(self, parts: Sequence[RowSource]) -> None:
        self._parts = tuple(parts)
        first = parts[0]
        shapes = {(tuple(part.input_widths), tuple(part.output_widths)) for part in parts}
        assert len(shapes) == 1, "stacked sources have the same widths"
        self.input_widths: Sequence[int] = first.input_widths
        self.output_widths: Sequence[int] = first.output_widths
        self.is_reconstruction = first.is_reconstruction
        self.row_bytes = max(part.row_bytes for part in parts)
        self.starts = np.concatenate([[0], np.cumsum([len(part) for part in parts], dtype=np.int64)])
        """First number of each part, and the end of the last."""

    def __len__(self) -> int:
        return int(self.starts[-1])

    def gather_into(self, pairs: PairArrays, numbers_N: IndexArray, places_N: IndexArray) -> None:
        part_N = np.searchsorted(self.starts, numbers_N, side="right") - 1
        for index, part in enumerate(self._parts):
            own = np.flatnonzero(part_N == index)
            if own.size:
                part.gather_into(pairs, numbers_N[own] - self.starts[index], places_N[own])

    def expect(self, ranges: Iterable[RowRange]) -> None:
        wanted = list(ranges)
        for index, part in enumerate(self._parts):
            first, stop = int(self.starts[index]), int(self.starts[index + 1])
            part.expect(
                [
                    (max(low, first) - first, min(high, stop) - first)
                    for low, high in wanted
                    if low < stop and high > first
                ]
            )
