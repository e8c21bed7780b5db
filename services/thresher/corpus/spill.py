"""Tokenised documents on local disk, written in the order they are read and read back in the order they are packed."""

import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from thresher.corpus.tokenised import TokenisedDocument
from thresher.storage.file_errors import file_errors

SPILLED = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("token_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("role_ids", pa.list_(pa.int16()), nullable=False),
    ]
)


class Spill:
    """An Arrow IPC file under TMPDIR, gone when the block ends. First all is written, then `seal`ed, then read."""

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="thresher-corpus-")
        self._path = Path(self._folder.name) / "documents.arrow"
        self._writer = pa.ipc.new_file(str(self._path), SPILLED)
        self._starts = [0]
        self._map: pa.NativeFile | None = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._map is None:
            self._writer.close()
        self._folder.cleanup()

    def write(self, doc_ids: Sequence[str], documents: Sequence[TokenisedDocument]) -> range:
        """Append a batch; gives the rows at which its documents can be read back."""
        columns = [
            pa.array(doc_ids, pa.string()),
            pa.array([document.token_ids for document in documents], SPILLED.field("token_ids").type),
            pa.array([document.role_ids for document in documents], SPILLED.field("role_ids").type),
        ]
        with file_errors(self._path.as_uri()):
            self._writer.write_batch(pa.record_batch(columns, schema=SPILLED))
        first = self._starts[-1]
        self._starts.append(first + len(doc_ids))
        return range(first, self._starts[-1])

    def seal(self) -> None:
        """End the writing."""
        with file_errors(self._path.as_uri()):
            self._writer.close()
            self._map = pa.memory_map(str(self._path))
        reader = pa.ipc.open_file(self._map)
        self._batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]

    def read(self, row: int) -> tuple[str, TokenisedDocument]:
        """The id and the tokens of one document, mapped from the file."""
        assert self._map is not None, "seal first"
        index = bisect_right(self._starts, row) - 1
        batch, at = self._batches[index], row - self._starts[index]
        document = TokenisedDocument(_values(batch, "token_ids", at), _values(batch, "role_ids", at))
        return batch.column("doc_id")[at].as_py(), document


def _values(batch: pa.RecordBatch, name: str, at: int) -> Any:
    return batch.column(name)[at].values.to_numpy()
