"""Rows of Parquet files and of Arrow IPC streams, a batch at a time, only the columns that are named."""

from collections.abc import Iterator

import pyarrow as pa

from thresher.contracts.errors import SpecError
from thresher.corpus.source_spec import RecordSource
from thresher.corpus.sources.files import Advance, SourceFile
from thresher.corpus.sources.records import Record
from thresher.storage.parquet import open_parquet

ROWS_PER_BATCH = 512


def read_parquet(source: RecordSource, file: SourceFile, advance: Advance) -> Iterator[Record]:
    """Every row of a Parquet file.

    Raises:
        SpecError: it is no Parquet, or lacks a column.
    """
    rows = _Rows(file)
    with file.open_random() as stream:
        try:
            table = open_parquet(stream)
            columns = _columns(source, table.schema_arrow)
            num_rows = table.metadata.num_rows
            for batch in table.iter_batches(batch_size=ROWS_PER_BATCH, columns=columns, use_threads=False):
                yield from rows.of(batch)
                advance(file.size * batch.num_rows // num_rows)
        except (pa.ArrowInvalid, OSError) as error:
            raise _damaged(source, file, "Parquet", error) from error


def read_arrow_stream(source: RecordSource, file: SourceFile, advance: Advance) -> Iterator[Record]:
    """Every row of an Arrow IPC stream.

    Raises:
        SpecError: it is no such stream, or lacks a column.
    """
    rows = _Rows(file)
    with file.open_random() as stream:
        try:
            reader = pa.ipc.open_stream(stream)
            columns = _columns(source, reader.schema)
            done = 0
            for batch in reader:
                yield from rows.of(batch.select(columns))
                advance(stream.tell() - done)
                done = stream.tell()
        except (pa.ArrowInvalid, OSError) as error:
            raise _damaged(source, file, "an Arrow IPC stream", error) from error


def _columns(source: RecordSource, schema: pa.Schema) -> list[str]:
    for field in ("messages_field" if source.messages_field else "text_field", "id_field"):
        name = getattr(source, field)
        if name is not None and name not in schema.names:
            raise SpecError(f"sources.{field}", name, allowed=schema.names, mend="Name a column.")
    return list(dict.fromkeys(name for name in (source.content_field, source.id_field) if name))


class _Rows:
    """Numbers the rows of a file, batch after batch."""

    def __init__(self, file: SourceFile) -> None:
        self._file, self._number = file, 0

    def of(self, batch: pa.RecordBatch) -> Iterator[Record]:
        for start in range(0, batch.num_rows, ROWS_PER_BATCH):
            for values in batch.slice(start, ROWS_PER_BATCH).to_pylist():
                yield Record(self._number, f"Row {self._number} (from 0) of {self._file.url}", values)
                self._number += 1


def _damaged(source: RecordSource, file: SourceFile, kind: str, error: Exception) -> SpecError:
    return SpecError("sources.path", source.path, mend=f"{file.url} is no whole file of {kind}: {error}.")
