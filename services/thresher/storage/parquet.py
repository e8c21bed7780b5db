"""Parquet, read so that a process can end right after.

Arrow's dataset reader, and its decoding in parallel, let go of the file in threads of their own. Where the bytes are
Python's, letting go needs the interpreter: if that is ending, the thread is unwound through C++ that allows no
unwinding, and the process aborts ("terminate called without an active exception"). So files are read by ParquetFile,
on the calling thread unless they are memory maps. `pq.read_table` over a `pa.BufferReader` of bytes, followed by
the end of the process, aborted 34 of 240 processes; this aborts none.
"""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

Wanted = Mapping[str, Collection[Any]]
"""By column: the values that a row may have there."""


def open_parquet(file: pa.NativeFile) -> pq.ParquetFile:
    """For its schema, row groups and batches; these are read with `use_threads=False`."""
    return pq.ParquetFile(file, pre_buffer=False)


def read_parquet(
    file: pa.NativeFile, columns: Sequence[str] | None = None, wanted: Wanted | None = None
) -> pa.Table:
    """The rows of a file that have wanted values; row groups are passed over where their statistics exclude all.

    Raises:
        pa.ArrowInvalid: it is no Parquet file.
        KeyError: it has no such column.
    """
    parquet, wanted = open_parquet(file), wanted or {}
    names = parquet.schema_arrow.names if columns is None else list(columns)
    _check_columns(parquet, [*names, *wanted])
    sorted_by_name = {name: sorted(values) for name, values in wanted.items()}
    groups = [index for index in range(parquet.num_row_groups) if _may_hold(parquet, index, sorted_by_name)]
    in_parallel = isinstance(file, pa.MemoryMappedFile)
    table = parquet.read_row_groups(
        groups, columns=list(dict.fromkeys([*names, *wanted])), use_threads=in_parallel
    )
    for name, values in sorted_by_name.items():
        table = table.filter(pc.is_in(table[name], value_set=pa.array(values, table.schema.field(name).type)))
    return table.select(names)


def _check_columns(parquet: pq.ParquetFile, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in parquet.schema_arrow.names]
    if missing:
        raise KeyError(missing[0])


def _may_hold(parquet: pq.ParquetFile, group: int, sorted_by_name: Mapping[str, Sequence[Any]]) -> bool:
    row_group = parquet.metadata.row_group(group)
    for index in range(row_group.num_columns):
        column = row_group.column(index)
        values = sorted_by_name.get(column.path_in_schema)
        if values is None or not column.is_stats_set or not column.statistics.has_min_max:
            continue
        first = bisect_left(values, column.statistics.min)
        if first == len(values) or values[first] > column.statistics.max:
            return False
    return True
