"""Writes one rank's part of a shard: a file for each of its sites, and the table of row addresses.

Shape suffix N: rows.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from thresher.activations.row_encoding import EncodedRows, RowEncoding
from thresher.activations.row_statistics import RowStatistics
from thresher.contracts import paths
from thresher.contracts.manifests import FileEntry, SiteFile
from thresher.harvest.assembler import CoverageError, SequenceAssembler
from thresher.harvest.plan import ShardPart, ShardPlan
from thresher.storage import ObjectStore, ObjectWriter
from thresher.storage.artifacts import put_hashed_file

ROWS_PER_BATCH = 4096
"""Rows of one Arrow record batch, in whole sequences: the unit of a ranged read."""
FINISHING_THREADS = 4
"""Files of a shard whose last bytes go up at once: most of that is waiting for the store."""


class SiteFileWriter:
    """An Arrow IPC file streamed into the store as its batches come. Ends with `finish` or `abort`."""

    def __init__(self, sink: ObjectWriter, encoding: RowEncoding) -> None:
        self._sink, self._encoding = sink.__enter__(), encoding
        self._statistics = RowStatistics()
        try:
            self._file = pa.ipc.new_file(pa.PythonFile(sink, mode="w"), encoding.schema)
        except BaseException:  # the header may meet a full disk
            self.abort()
            raise

    def write(self, parts: Sequence[EncodedRows], addresses: pa.Table) -> None:
        """Rows in the order of the file; `addresses` has theirs."""
        norms_N = torch.cat([part.norms_N for part in parts])
        if not torch.isfinite(norms_N).all():
            bad = int((~torch.isfinite(norms_N)).nonzero()[0])
            sequence, position = (addresses[name][bad].as_py() for name in ("sequence", "position"))
            raise CoverageError(f"A row is not finite at sequence {sequence}, position {position}.")
        sequences_N, positions_N = (addresses[name].to_numpy() for name in ("sequence", "position"))
        self._statistics.add(norms_N, torch.cat([part.errors_N for part in parts]), sequences_N, positions_N)
        self._file.write_batch(self._encoding.record_batch(parts))

    def finish(self) -> None:
        """Write the footer and make the object appear."""
        self._file.close()
        self._sink.__exit__(None, None, None)

    def abort(self) -> None:
        """Let nothing appear, unless the object has."""
        if not self._sink.closed:
            self._sink.__exit__(CoverageError, CoverageError("the shard was given up"), None)

    def entry(self) -> SiteFile:
        """The finished file."""
        found = self._statistics
        return SiteFile(
            key=self._sink.key,
            size=self._sink.size,
            sha256=self._sink.sha256,
            relative_error=found.relative_error,
            max_row_error=found.max_row_error,
            norm_counts=found.norm_counts,
            outliers=found.outliers,
        )


class ShardWriter:
    """Takes rows as the engine gives them and writes them on in order; nothing is visible until `finish`. Whoever does
    not reach the end of `finish` calls `abort`.

    Args:
        store: where to.
        plan: which sequences.
        sites: of this rank, at least one.
        addresses: the address of each row that is to be stored, schema ROWS, in order.
        encodings: of this rank's sites; filled before the first rows come.
        writes_addresses: whether the table of addresses is this rank's to write.
    """

    def __init__(
        self,
        store: ObjectStore,
        plan: ShardPlan,
        sites: list[str],
        addresses: pa.Table,
        encodings: Mapping[str, RowEncoding],
        writes_addresses: bool,
    ) -> None:
        self._store, self._plan, self._sites, self._addresses = store, plan, sites, addresses
        self._encodings, self._writes_addresses = encodings, writes_addresses
        self._assembler = SequenceAssembler(
            sites, plan.first_sequence, plan.num_sequences, plan.sequence_length
        )
        rows_a_sequence = max(1, addresses.num_rows // plan.num_sequences)
        self._group = max(1, ROWS_PER_BATCH // rows_a_sequence)
        self._files: dict[str, SiteFileWriter] = {}
        self._num_rows = 0

    def _site_file(self, site: str) -> SiteFileWriter:
        if site not in self._files:
            stem = paths.site_shard_stem(self._plan.artifact, site, self._plan.index)
            self._files[site] = SiteFileWriter(self._store.open_hashed(stem, ".arrow"), self._encodings[site])
        return self._files[site]

    def abort(self) -> None:
        """Give the shard up: every file, though one of them may not let itself be aborted."""
        with contextlib.ExitStack() as stack:
            for file in self._files.values():
                stack.callback(file.abort)

    def covers(self, sequence: int) -> bool:
        """Whether the sequence is of this shard."""
        return 0 <= sequence - self._plan.first_sequence < self._plan.num_sequences

    def add(self, sequence: int, start: int, num_positions: int, rows: Mapping[str, EncodedRows]) -> None:
        """The selected rows of positions [start, start + num_positions), written on as soon as they are whole."""
        self._assembler.add(sequence, start, num_positions, rows)
        while group := self._assembler.take_whole(self._group):
            chunks = [chunk for sequence_chunks in group for chunk in sequence_chunks]
            count = sum(chunk[self._sites[0]].num_rows for chunk in chunks)
            addresses = self._addresses.slice(self._num_rows, count)
            self._num_rows += count
            for site in self._sites:
                self._site_file(site).write([chunk[site] for chunk in chunks], addresses)

    def finish(self) -> ShardPart:
        """Assert coverage, finish the files, and describe them. May run while another thread writes another shard.

        Raises:
            CoverageError: a row is missing or doubled.
            StoreError: the store refused a file.
        """
        self._assembler.assert_complete()
        if self._num_rows != self._addresses.num_rows:
            raise CoverageError(f"{self._num_rows} rows came; {self._addresses.num_rows} were selected.")
        files = [self._site_file(site) for site in self._sites]
        with ThreadPoolExecutor(FINISHING_THREADS, thread_name_prefix="shard-files") as pool:
            list(pool.map(SiteFileWriter.finish, files))
        return ShardPart(
            index=self._plan.index,
            num_rows=self._num_rows,
            sites={site: file.entry() for site, file in self._files.items()},
            rows=self._write_addresses() if self._writes_addresses else None,
        )

    def _write_addresses(self) -> FileEntry:
        buffer = io.BytesIO()
        pq.write_table(self._addresses, buffer, compression="zstd")
        stem = paths.rows_shard_stem(self._plan.artifact, self._plan.index)
        return put_hashed_file(self._store, stem, ".parquet", buffer.getvalue())
