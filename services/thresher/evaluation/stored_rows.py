"""Single rows of a site's file, by ranged reads of the record batches that hold them. Needs no torch.

Shape suffixes: N rows asked for, D width of the site.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.activations.row_decoding import RawRows, RowDecoding
from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import SiteFile
from thresher.contracts.schemas import num_int8_blocks
from thresher.storage import ObjectStore
from thresher.storage.read_file import open_input

IndexArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


def read_rows(store: ObjectStore, entry: SiteFile, num_rows: int, rows_N: IndexArray) -> pa.Table:
    """Rows of one file, by number in the file, ascending.

    Raises:
        IntegrityError: the file is no Arrow file of that many rows.
    """
    try:
        with open_input(store, entry.key) as source:
            reader = pa.ipc.open_file(source)
            starts = _batch_starts(reader, num_rows)
            bounds = np.searchsorted(rows_N, starts)
            parts = [
                _pick(reader, int(index), starts, rows_N[bounds[index] : bounds[index + 1]])
                for index in np.flatnonzero(np.diff(bounds))
            ]
            return pa.Table.from_batches(parts, schema=reader.schema)
    except (pa.ArrowInvalid, OSError) as error:
        raise IntegrityError(f"{store.url}/{entry.key} is not a readable Arrow file ({error}).") from error
    except _UnevenBatchesError as error:
        raise IntegrityError(
            f"{store.url}/{entry.key} has {error} rows; its record says {num_rows}."
        ) from error


class _UnevenBatchesError(Exception):
    pass


def _batch_starts(reader: pa.ipc.RecordBatchFileReader, num_rows: int) -> IndexArray:
    """First row of each record batch, and the end: from the first batch's length, where all but the last have it."""
    count = reader.num_record_batches
    size = reader.get_batch(0).num_rows if count else 0
    is_even = (count - 1) * size < num_rows <= count * size
    if is_even and (count < 2 or reader.get_batch(count - 1).num_rows == num_rows - (count - 1) * size):
        return np.minimum(np.arange(count + 1, dtype=np.int64) * size, num_rows)
    lengths = [reader.get_batch(index).num_rows for index in range(count)]
    if sum(lengths) != num_rows:
        raise _UnevenBatchesError(sum(lengths))
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _pick(
    reader: pa.ipc.RecordBatchFileReader, index: int, starts: IndexArray, rows_N: IndexArray
) -> pa.RecordBatch:
    batch = reader.get_batch(index)
    if batch.num_rows != starts[index + 1] - starts[index]:
        raise pa.ArrowInvalid(f"record batch {index} has {batch.num_rows} rows, unlike the first")
    return batch.take(pa.array(rows_N - starts[index]))


def dense_values(table: pa.Table, width: int) -> FloatArray:
    """x_ND of a table of dense rows, whatever their encoding."""
    scale_NG = _matrix(table, "scale", num_int8_blocks(width)) if "scale" in table.column_names else None
    return RowDecoding.of(table.schema).decode(_matrix(table, "x", width), scale_NG)


def _matrix(table: pa.Table, column: str, width: int) -> RawRows:
    flat = pa.concat_arrays([chunk.flatten() for chunk in table.column(column).chunks])
    matrix: RawRows = np.asarray(flat).reshape(-1, width)
    return matrix
