"""The rows of each site, by sequence, and what all sites must have in common.

Shape suffixes: K sequences asked for, L rows a sequence, N = K * L rows, D width of the site.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from thresher.activations.importer.items import IndexArray, Items
from thresher.contracts.errors import SpecError

MAX_SEQUENCES = 2**31 - 1
"""Sequences are numbered in int32."""


class SiteRows:
    """One source as rows, L of them a sequence.

    Raises:
        SpecError: its items are no rows and no sequences of rows of that length, or are no numbers.
    """

    def __init__(self, items: Items, sequence_length: int) -> None:
        self._items, self.sequence_length = items, sequence_length
        self._has_whole_sequences = len(items.item_shape) == 2
        self.width = items.item_shape[-1]
        if not self._has_whole_sequences and len(items) % sequence_length:
            raise SpecError(
                items.field,
                f"{len(items):,} rows",
                allowed=f"multiples of sequence_length {sequence_length}",
                mend="Cut the array to whole sequences, or correct sequence_length.",
            )
        self.num_sequences = len(items) if self._has_whole_sequences else len(items) // sequence_length

    @property
    def dtype_name(self) -> str:
        return self._items.dtype_name

    def take(self, sequences_K: IndexArray) -> torch.Tensor:
        """x_ND, float32, of sequences in ascending order.

        Raises:
            SpecError: a value is not finite (in float32); names the file and the row.
        """
        items = self._items_of(sequences_K)
        with np.errstate(over="ignore"):
            x_ND = np.ascontiguousarray(self._items.take(items), dtype=np.float32).reshape(-1, self.width)
        self._check_finite(x_ND, items)
        return torch.from_numpy(x_ND)

    def place_of(self, sequence: int) -> str:
        """File and row of a sequence's first row, for people."""
        return self._items.place_of(int(self._items_of(np.array([sequence]))[0]))

    def _items_of(self, sequences_K: IndexArray) -> IndexArray:
        if self._has_whole_sequences:
            return sequences_K
        items: IndexArray = (
            sequences_K[:, None] * self.sequence_length + np.arange(self.sequence_length)
        ).reshape(-1)
        return items

    def _check_finite(self, x_ND: npt.NDArray[np.float32], items: IndexArray) -> None:
        if np.isfinite(x_ND).all():
            return
        row, column = (int(index) for index in np.argwhere(~np.isfinite(x_ND))[0])
        item = int(items[row // self.sequence_length if self._has_whole_sequences else row])
        place = self._items.place_of(item)
        if self._has_whole_sequences:
            place += f" position {row % self.sequence_length}"
        raise SpecError(
            self._items.field,
            f"{place} column {column}",
            mend=f"It holds {x_ND[row, column]} in float32: mend or drop the row.",
        )


def arrange(sources: Mapping[str, Items], sequence_length: int | None) -> dict[str, SiteRows]:
    """Rows by site.

    Args:
        sources: by site.
        sequence_length: L; None takes it from arrays of three axes, or else is 1.

    Raises:
        SpecError: the sites differ in their number of sequences or in L; names them.
    """
    for items in sources.values():
        _check_numbers(items)
    lengths = {site: items.item_shape[0] for site, items in sources.items() if len(items.item_shape) == 2}
    length = sequence_length or next(iter(lengths.values()), 1)
    for site, own in lengths.items():
        if own != length:
            raise SpecError(
                f"sites.{site}",
                f"sequences of {own} rows",
                allowed=f"sequences of {length}",
                mend="All sites must have the same rows: correct the array or sequence_length.",
            )
    rows = {site: SiteRows(items, length) for site, items in sources.items()}
    first = next(iter(rows))
    for site, item in rows.items():
        if item.num_sequences != rows[first].num_sequences:
            raise SpecError(
                f"sites.{site}",
                f"{item.num_sequences * length:,} rows",
                allowed=f"{rows[first].num_sequences * length:,} rows, as {first} has",
                mend="All sites must have the same rows: correct the arrays.",
            )
    if rows[first].num_sequences > MAX_SEQUENCES:
        raise SpecError(
            "sites", f"{rows[first].num_sequences:,} sequences", mend="Import fewer than 2^31 at once."
        )
    return rows


def _check_numbers(items: Items) -> None:
    shape = (len(items), *items.item_shape)
    if len(shape) not in (2, 3) or 0 in shape:
        raise SpecError(
            items.field,
            f"an array of shape {shape}",
            allowed="[rows, width] or [sequences, length, width]",
            mend="Reshape the array.",
        )
    if not items.dtype_name.startswith(("float", "double", "halffloat", "bfloat", "int", "uint")):
        raise SpecError(
            items.field, items.dtype_name, allowed="numbers", mend="Give an array of real numbers."
        )
