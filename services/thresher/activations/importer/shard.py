"""Writes one imported shard: a file a site, the rows table, and last the commit record.

Shape suffixes: K sequences of a record batch, D width of a site.
"""

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from thresher.activations.importer.addresses import Addresses
from thresher.activations.importer.items import IndexArray
from thresher.activations.importer.site_rows import SiteRows
from thresher.activations.row_encoding import DenseEncoding, EncodingRangeError
from thresher.activations.row_statistics import RowStatistics
from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import EngineProvenance, ShardCommit, SiteFile
from thresher.storage import ObjectStore, ObjectWriter
from thresher.storage.artifacts import check_sizes, create_record, put_hashed_file

ROWS_PER_BATCH = 4096
"""Rows of one Arrow record batch, in whole sequences."""


@dataclass(frozen=True)
class ImportShard:
    """Sequences [first_sequence, first_sequence + len(source_sequences)) of the harvest, of one split."""

    artifact: str
    index: int
    first_sequence: int
    source_sequences: IndexArray
    """Their numbers in the source, ascending."""


class _SiteFile:
    """An Arrow IPC file streamed into the store as its batches come."""

    def __init__(self, rows: SiteRows, encoding: DenseEncoding, sink: ObjectWriter) -> None:
        self._rows, self._encoding, self._sink = rows, encoding, sink
        self._statistics = RowStatistics()
        self._file = pa.ipc.new_file(pa.PythonFile(sink, mode="w"), encoding.schema)

    def add(self, source_K: IndexArray, first: int, sequence_length: int) -> None:
        """Rows of the source's sequences, which are numbered from `first` on in the harvest."""
        try:
            encoded = self._encoding.encode(self._rows.take(source_K))
        except EncodingRangeError as error:
            place = self._rows.place_of(int(source_K[0]))
            raise SpecError(
                "encoding",
                "float16",
                allowed="bfloat16 or int8",
                mend=f"A value among the {len(source_K)} sequences from {place} on is beyond its range.",
            ) from error
        row_N = np.arange(encoded.num_rows)
        self._statistics.add(
            encoded.norms_N, encoded.errors_N, first + row_N // sequence_length, row_N % sequence_length
        )
        self._file.write_batch(self._encoding.record_batch([encoded]))

    def finish(self) -> None:
        self._file.close()

    def entry(self) -> SiteFile:
        return SiteFile(
            key=self._sink.key,
            size=self._sink.size,
            sha256=self._sink.sha256,
            relative_error=self._statistics.relative_error,
            max_row_error=self._statistics.max_row_error,
            norm_counts=self._statistics.norm_counts,
            outliers=self._statistics.outliers,
        )


def write_shard(
    store: ObjectStore,
    shard: ImportShard,
    sites: Mapping[str, SiteRows],
    encodings: Mapping[str, DenseEncoding],
    addresses: Addresses,
    sequence_length: int,
    provenance: EngineProvenance,
) -> ShardCommit:
    """Write and commit a shard; nothing counts before its record.

    Raises:
        SpecError: a value or an address cannot be stored; names the file and the row.
    """
    group = max(1, ROWS_PER_BATCH // sequence_length)
    with contextlib.ExitStack() as stack:
        files = {}
        for site, rows in sites.items():
            stem = paths.site_shard_stem(shard.artifact, site, shard.index)
            sink = stack.enter_context(store.open_hashed(stem, ".arrow"))
            files[site] = _SiteFile(rows, encodings[site], sink)
        for start in range(0, len(shard.source_sequences), group):
            source_K = shard.source_sequences[start : start + group]
            for file in files.values():
                file.add(source_K, shard.first_sequence + start, sequence_length)
        for file in files.values():
            file.finish()
    table = addresses.table(shard.source_sequences, shard.first_sequence)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    record = ShardCommit(
        index=shard.index,
        first_sequence=shard.first_sequence,
        num_sequences=len(shard.source_sequences),
        num_rows=table.num_rows,
        sites={site: file.entry() for site, file in files.items()},
        rows=put_hashed_file(
            store, paths.rows_shard_stem(shard.artifact, shard.index), ".parquet", buffer.getvalue()
        ),
        provenance=provenance,
    )
    check_sizes(store, [*record.sites.values(), record.rows])
    return create_record(store, paths.shard_commit(shard.artifact, shard.index), record)
