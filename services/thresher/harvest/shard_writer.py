"""Writes one shard: a site's file each, the rows table, and last the commit record.

Shapes: L tokens a sequence, D width of the site.
"""

import contextlib
import io
from collections.abc import Mapping
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from thresher.contracts import paths
from thresher.contracts.manifests import EngineProvenance, ShardCommit, SiteFile
from thresher.harvest.assembler import CoverageError, SequenceAssembler
from thresher.harvest.plan import ShardPlan
from thresher.harvest.row_encoders import RowEncoder
from thresher.storage import ObjectStore, ObjectWriter
from thresher.storage.artifacts import check_sizes, create_record, put_file

ROWS_PER_BATCH = 4096
"""Rows of one Arrow record batch, in whole sequences: the unit of a ranged read, and of the encoder's GEMM."""


class SiteFileWriter:
    """An Arrow IPC file streamed into the store as its batches come."""

    def __init__(self, key: str, sink: ObjectWriter, encoder: RowEncoder) -> None:
        self._key, self._sink, self._encoder = key, sink, encoder
        self._file: pa.ipc.RecordBatchFileWriter | None = None

    def write(self, x_ND: torch.Tensor) -> None:
        batch = self._encoder.encode(x_ND)
        if self._file is None:
            self._file = pa.ipc.new_file(pa.PythonFile(self._sink, mode="w"), batch.schema)
        self._file.write_batch(batch)

    def finish(self) -> None:
        assert self._file is not None, "a shard has at least one sequence"
        self._file.close()

    def entry(self) -> SiteFile:
        return SiteFile(
            key=self._key,
            size=self._sink.size,
            sha256=self._sink.sha256,
            relative_error=self._encoder.relative_error,
        )


class ShardWriter:
    """Takes rows as the engine gives them; nothing is visible until `commit`, which asserts coverage.

    Data objects have fixed names and appear before the commit record, which exactly one writer creates; a reader
    looks at committed shards alone.
    """

    def __init__(
        self, store: ObjectStore, plan: ShardPlan, rows: pa.Table, encoders: Mapping[str, RowEncoder]
    ) -> None:
        self._store, self._plan, self._rows = store, plan, rows
        self._assembler = SequenceAssembler(
            list(encoders), plan.first_sequence, plan.num_sequences, plan.sequence_length
        )
        self._group = max(1, ROWS_PER_BATCH // plan.sequence_length)
        self._stack = contextlib.ExitStack()
        self._files = {site: self._open_site(site, encoder) for site, encoder in encoders.items()}

    def _open_site(self, site: str, encoder: RowEncoder) -> SiteFileWriter:
        key = paths.site_shard(self._plan.artifact, site, self._plan.index)
        return SiteFileWriter(key, self._stack.enter_context(self._store.open_write(key)), encoder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        # Reached with the files still open only when the shard was not committed: abort them all.
        self._stack.__exit__(CoverageError, CoverageError("the shard was given up"), None)

    def add(self, sequence: int, start: int, rows: Mapping[str, torch.Tensor]) -> None:
        """Positions [start, start + n) of a sequence, rows [n, D] a site; written on as soon as they are whole."""
        self._assembler.add(sequence, start, rows)
        while group := self._assembler.take_whole(self._group):
            for site, file in self._files.items():
                file.write(torch.cat([buffers[site] for buffers in group]))

    def commit(self, provenance: EngineProvenance) -> ShardCommit:
        """Finish the files, check that the store has them, and create the commit record.

        Returns the record that holds, which is another writer's if that one was first.
        """
        self._assembler.assert_complete()
        for file in self._files.values():
            file.finish()
        self._stack.close()
        rows_buffer = io.BytesIO()
        pq.write_table(self._rows, rows_buffer, compression="zstd")
        record = ShardCommit(
            index=self._plan.index,
            first_sequence=self._plan.first_sequence,
            num_sequences=self._plan.num_sequences,
            num_rows=self._rows.num_rows,
            sites={site: file.entry() for site, file in self._files.items()},
            rows=put_file(
                self._store, paths.rows_shard(self._plan.artifact, self._plan.index), rows_buffer.getvalue()
            ),
            provenance=provenance,
        )
        check_sizes(self._store, [*record.sites.values(), record.rows])
        return create_record(self._store, paths.shard_commit(self._plan.artifact, self._plan.index), record)
