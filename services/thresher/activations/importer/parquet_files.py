"""Columns of a Parquet file as items, decoded a batch at a time: memory is bounded whatever the row groups' size."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from thresher.activations.importer.objects import SourceObject
from thresher.contracts.errors import SpecError
from thresher.storage.parquet import open_parquet
from thresher.storage.read_file import open_input

BATCH_ITEMS = 4096
ValueType = Any  # pyarrow's DataType, which has no types of its own


class ParquetFile:
    """One list column (items are vectors), several number columns (their rows are), or one plain column.

    Items are read forward; a step back begins again at the row group. A file is decoded once for each pass over it.

    Args:
        columns: names or patterns.
        plain: one column of single values is meant, such as an id or a text; its items have the shape ().

    Raises:
        SpecError: it is no Parquet file, or lacks the columns, or they hold neither numbers nor (plain) texts.
    """

    def __init__(self, field: str, source: SourceObject, columns: Sequence[str], *, plain: bool) -> None:
        self.name, self._field = source.name, field
        try:
            self._file = open_parquet(open_input(source.store, source.key))
        except (pa.ArrowInvalid, OSError) as error:
            raise SpecError(
                field, source.name, mend=f"This is no Parquet file that pyarrow reads: {error}."
            ) from error
        self._columns = self._resolve(columns)
        self._plain = plain
        self._list_length: int | None = None
        groups = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._group_starts = np.concatenate([[0], np.cumsum(groups, dtype=np.int64)]).astype(np.int64)
        self.num_items = int(self._group_starts[-1])
        if not self.num_items:
            raise SpecError(field, self.name, mend="The file holds no row.")
        self.dtype_name = self._check_types()
        self._cursor: Iterator[tuple[int, npt.NDArray[Any]]] = iter(())
        self._batch_start, self._batch = 0, np.empty(0)
        self.item_shape: tuple[int, ...] = () if plain else (self._width(),)

    def take(self, items: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Items in ascending order; plain texts as an array of str and None.

        Raises:
            SpecError: a null, or a list of another length; names the row.
        """
        parts = []
        done = 0
        while done < len(items):
            self._seek(int(items[done]))
            stop = self._batch_start + len(self._batch)
            count = int(np.searchsorted(items[done:], stop))
            parts.append(self._batch[items[done : done + count] - self._batch_start])
            done += count
        return np.concatenate(parts)

    def _seek(self, item: int) -> None:
        """Make the batch that holds the item the current one."""
        if item < self._batch_start or item >= self._next_group_start():
            group = int(np.searchsorted(self._group_starts, item, side="right")) - 1
            self._cursor = self._decode(group)
            self._batch_start, self._batch = next(self._cursor)
        while item >= self._batch_start + len(self._batch):
            self._batch_start, self._batch = next(self._cursor)

    def _next_group_start(self) -> int:
        """Where the row group after the current batch's begins: 0 before any was read."""
        if not len(self._batch):
            return 0
        group = int(np.searchsorted(self._group_starts, self._batch_start, side="right"))
        return int(self._group_starts[group])

    def _decode(self, group: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        start = int(self._group_starts[group])
        for batch in self._file.iter_batches(
            BATCH_ITEMS, row_groups=[group], columns=self._columns, use_threads=False
        ):
            arrays = [batch.column(name) for name in self._columns]
            yield start, self._plain_items(arrays[0], start) if self._plain else self._vectors(arrays, start)
            start += batch.num_rows

    def _plain_items(self, array: pa.Array, start: int) -> npt.NDArray[Any]:
        if pa.types.is_integer(array.type) and array.null_count == 0:
            return np.asarray(array)
        return np.array(array.cast(pa.string()).to_pylist(), dtype=object)

    def _vectors(self, arrays: list[pa.Array], start: int) -> npt.NDArray[Any]:
        for array in arrays:
            self._check_no_null(array, start, values_per_row=1)
        if not _is_list(arrays[0].type):
            return np.stack([np.asarray(array) for array in arrays], axis=1)
        lengths = np.asarray(pc.list_value_length(arrays[0]))
        if self._list_length is None:
            self._list_length = int(lengths[0])
        wrong = np.flatnonzero(lengths != self._list_length)
        if wrong.size:
            raise SpecError(
                self._field,
                f"{self.name} row {start + int(wrong[0])}",
                mend=f"Its list has {lengths[wrong[0]]} values where the first row has {self._list_length}: make "
                "all of one length.",
            )
        values = pc.list_flatten(arrays[0])
        self._check_no_null(values, start, values_per_row=self._list_length)
        return np.asarray(values).reshape(-1, self._list_length)

    def _check_no_null(self, array: pa.Array, start: int, values_per_row: int) -> None:
        if array.null_count:
            row = start + int(np.flatnonzero(np.asarray(array.is_null()))[0]) // values_per_row
            raise SpecError(
                self._field, f"{self.name} row {row}", mend="It holds a null: fill it or drop the row."
            )

    def _resolve(self, columns: Sequence[str]) -> list[str]:
        names: list[str] = self._file.schema_arrow.names
        found = [name for name in names if any(fnmatchcase(name, pattern) for pattern in columns)]
        for pattern in columns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise SpecError(
                    f"{self._field}.columns", pattern, allowed=names, mend=f"Name columns of {self.name}."
                )
        return found

    def _check_types(self) -> str:
        types = [self._file.schema_arrow.field(name).type for name in self._columns]
        if self._plain:
            if len(types) != 1 or not (_is_text(types[0]) or pa.types.is_integer(types[0])):
                raise self._fault(types, "one column of texts or integers")
            return str(types[0])
        values = [item.value_type if _is_list(item) else item for item in types]
        is_one_list = len(types) == 1 and _is_list(types[0])
        if not (is_one_list or not any(_is_list(item) for item in types)) or not all(map(_is_number, values)):
            raise self._fault(types, "one column of lists of numbers, or columns of numbers")
        return str(values[0])

    def _fault(self, types: Sequence[ValueType], allowed: str) -> SpecError:
        given = ", ".join(f"{name}: {kind}" for name, kind in zip(self._columns, types, strict=True))
        return SpecError(
            f"{self._field}.columns", given, allowed=allowed, mend=f"Name other columns of {self.name}."
        )

    def _width(self) -> int:
        first = next(self._decode(0))[1]
        return int(first.shape[1])


def _is_list(kind: ValueType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_text(kind: ValueType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner))


def _is_number(kind: ValueType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))
