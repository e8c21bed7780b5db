"""The files of a source as one run of items, each file's shape and type checked against the first's.

An item is one entry of the first axis: a row, or a whole sequence of rows.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from thresher.activations.importer.objects import SourceObject, find_objects
from thresher.activations.importer.parquet_files import ParquetFile
from thresher.activations.importer.spec import NpySource, ParquetSource, SafetensorsSource
from thresher.activations.importer.tensor_files import open_npy, open_safetensors
from thresher.contracts.errors import SpecError

IndexArray = npt.NDArray[np.int64]
SPAN_BYTES = 32 << 20
"""What is read at once of a file, of items that are not wanted too."""
ASSUMED_VALUE_BYTES = 8


class ItemFile(Protocol):
    """One file of a source."""

    name: str
    num_items: int
    item_shape: tuple[int, ...]
    dtype_name: str

    def take(self, items: IndexArray) -> npt.NDArray[Any]:
        """Items by number in ascending order."""


class Items:
    """All files of a source, joined in the order of their names.

    Raises:
        SpecError: no file is there, one cannot be read, or two differ in shape or type; names it.
    """

    def __init__(
        self, field: str, source: NpySource | SafetensorsSource | ParquetSource, *, plain: bool
    ) -> None:
        self.field = field
        self.objects = find_objects(f"{field}.path", source.path)
        self._files = [_open(field, source, item, plain=plain) for item in self.objects]
        first = self._files[0]
        for file in self._files[1:]:
            if (file.item_shape, file.dtype_name) != (first.item_shape, first.dtype_name):
                raise SpecError(
                    f"{field}.path",
                    file.name,
                    mend=f"It holds items of shape {file.item_shape} and type {file.dtype_name}; {first.name} "
                    f"of shape {first.item_shape} and type {first.dtype_name}: give files of one kind.",
                )
        self.item_shape, self.dtype_name = first.item_shape, first.dtype_name
        stops = np.cumsum([file.num_items for file in self._files], dtype=np.int64)
        self._starts = np.concatenate([np.zeros(1, np.int64), stops])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, items: IndexArray) -> npt.NDArray[Any]:
        """Items by number in ascending order, [n, *item_shape]."""
        parts = [file.take(own - start) for file, start, own in self._by_file(items)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def place_of(self, item: int) -> str:
        """The file and the item in it, for people."""
        index = int(np.searchsorted(self._starts, item, side="right")) - 1
        return f"{self._files[index].name} row {item - int(self._starts[index])}"

    def _by_file(self, items: IndexArray) -> Iterator[tuple[ItemFile, int, IndexArray]]:
        span = max(1, SPAN_BYTES // (ASSUMED_VALUE_BYTES * max(1, int(np.prod(self.item_shape)))))
        bounds = np.searchsorted(items, self._starts)
        for index in np.flatnonzero(np.diff(bounds)):
            own = items[bounds[index] : bounds[index + 1]]
            cuts = np.flatnonzero(np.diff(own // span)) + 1
            for part in np.split(own, cuts):
                yield self._files[index], int(self._starts[index]), part


def _open(
    field: str,
    source: NpySource | SafetensorsSource | ParquetSource,
    item: SourceObject,
    *,
    plain: bool,
) -> ItemFile:
    if isinstance(source, ParquetSource):
        return ParquetFile(field, item, source.columns, plain=plain)
    if isinstance(source, SafetensorsSource):
        return open_safetensors(field, item, source.tensor)
    return open_npy(field, item)
