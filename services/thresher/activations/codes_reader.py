"""Sparse codes of a harvest, shard by shard, as compressed sparse rows.

Shapes: R rows (tokens) of a shard, N codes of a shard (active latents, summed over its rows).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError, SpecError
from thresher.contracts.manifests import FileEntry, HarvestManifest, ShardCommit
from thresher.contracts.schemas import ROWS, SPARSE_CODES
from thresher.storage.artifacts import read_record
from thresher.storage.base import ObjectMissingError, ObjectStore
from thresher.storage.parquet import read_parquet
from thresher.storage.read_file import open_input

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Float32s = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CodesShard:
    """Rows of `num_sequences` sequences from `first_sequence` on, sorted by (sequence, position)."""

    first_sequence: int
    num_sequences: int
    sequence_length: int
    row_offsets: Int64s
    """[R + 1]: the codes of row r are [row_offsets[r], row_offsets[r + 1])."""
    latents: Int32s
    """[N]: ascending within a row."""
    values: Float32s
    """[N]: positive."""
    token_ids: Int32s
    """[R]."""
    documents: Int32s
    """[R]: index into `doc_ids`."""
    doc_ids: list[str]

    @property
    def num_rows(self) -> int:
        return self.num_sequences * self.sequence_length

    def rows_of(self, sequences: npt.NDArray[np.integer], positions: npt.NDArray[np.integer]) -> Int64s:
        """Row of each (sequence, position); every sequence must lie in the shard."""
        return (sequences.astype(np.int64) - self.first_sequence) * self.sequence_length + positions

    def rows_of_codes(self) -> Int64s:
        """[N]: the row that each code belongs to."""
        return np.repeat(np.arange(self.num_rows, dtype=np.int64), np.diff(self.row_offsets))

    def by_latent(self) -> Int64s:
        """[N]: the codes in order of (latent, row)."""
        # Radix sort for up to 65,536 latents: numpy has it for two-byte integers only.
        narrow = self.latents.astype(np.min_scalar_type(int(self.latents.max(initial=0))))
        return np.argsort(narrow, kind="stable")


class CodesReader:
    """The shards of one sparse harvest. Holds no shard: each is read, checked and handed over."""

    def __init__(self, store: ObjectStore, manifest: HarvestManifest) -> None:
        [(self.site, summary)] = manifest.sites.items()
        self.manifest, self.num_latents = manifest, summary.width
        self._store = store

    def __len__(self) -> int:
        return len(self.manifest.shards)

    def __iter__(self) -> Iterator[CodesShard]:
        return (self.read(index) for index in range(len(self)))

    def read(self, index: int) -> CodesShard:
        """Read the shard at `index` of the manifest's list.

        Raises:
            IntegrityError: a file is missing, differs from its commit record, or breaks the shard's contract.
        """
        commit = self.manifest.shards[index]
        codes = _Source(self._store, commit.sites[self.site])
        row_offsets, latents, values = _read_codes(codes, commit.num_rows, self.num_latents)
        documents, doc_ids, token_ids = self._read_rows(commit)
        return CodesShard(
            first_sequence=commit.first_sequence,
            num_sequences=commit.num_sequences,
            sequence_length=self.manifest.sequence_length,
            row_offsets=row_offsets,
            latents=latents,
            values=values,
            token_ids=token_ids,
            documents=documents,
            doc_ids=doc_ids,
        )

    def _read_rows(self, commit: ShardCommit) -> tuple[Int32s, list[str], Int32s]:
        source = _Source(self._store, commit.rows)
        try:
            table = read_parquet(pa.BufferReader(source.verified_bytes()), ROWS.names)
        except (pa.ArrowInvalid, KeyError, OSError) as error:
            raise source.fault(f"is not the Parquet of a shard's rows ({error})") from error
        length = self.manifest.sequence_length
        if commit.num_rows != commit.num_sequences * length or table.num_rows != commit.num_rows:
            raise source.fault(
                f"holds {table.num_rows} rows; {commit.num_sequences} sequences of {length} are due"
            )
        row = np.arange(commit.num_rows)
        in_order = np.array_equal(table["sequence"].to_numpy(), commit.first_sequence + row // length)
        if not in_order or not np.array_equal(table["position"].to_numpy(), row % length):
            raise source.fault("does not hold every (sequence, position) once, in order")
        doc_id: Any = pc.dictionary_encode(table["doc_id"].cast(pa.string()).combine_chunks())
        documents: Int32s = doc_id.indices.to_numpy()
        token_ids: Int32s = table["token_id"].to_numpy()
        return documents, doc_id.dictionary.to_pylist(), token_ids


def open_codes(store: ObjectStore, harvest_id: str) -> CodesReader:
    """Open a sparse harvest.

    Raises:
        MissingArtifactError: there is no such harvest, or it is not whole yet.
        SpecError: the harvest is dense.
    """
    manifest = read_record(store, paths.manifest(paths.harvest(harvest_id)), HarvestManifest)
    if manifest.encoding != "sparse":
        raise SpecError(
            "harvest",
            harvest_id,
            mend=f"It holds dense {manifest.encoding} rows: harvest with a `dictionary` and give that id.",
        )
    return CodesReader(store, manifest)


class _Source:
    """One file of a shard, checked against its commit record."""

    def __init__(self, store: ObjectStore, entry: FileEntry) -> None:
        self._store, self._entry = store, entry

    def verified_bytes(self) -> pa.Buffer:
        """Memory map in a local folder, the whole object elsewhere."""
        try:
            buffer = open_input(self._store, self._entry.key).read_buffer()
        except ObjectMissingError as error:
            raise self.fault("is missing") from error
        if buffer.size != self._entry.size:
            raise self.fault(f"has {buffer.size} bytes; its commit record says {self._entry.size}")
        if hashlib.sha256(memoryview(buffer)).hexdigest() != self._entry.sha256:
            raise self.fault("is corrupt: its sha256 differs from its commit record")
        return buffer

    def fault(self, what: str) -> IntegrityError:
        return IntegrityError(
            f"{self._store.url}/{self._entry.key} {what}. Delete the harvest and run it again."
        )


def _read_codes(source: _Source, num_rows: int, num_latents: int) -> tuple[Int64s, Int32s, Float32s]:
    try:
        table = pa.ipc.open_file(source.verified_bytes()).read_all()
    except pa.ArrowInvalid as error:
        raise source.fault(f"is not an Arrow IPC file ({error})") from error
    if not table.schema.equals(SPARSE_CODES):
        raise source.fault(f"has the schema {table.schema}, not that of sparse codes")
    if table.num_rows != num_rows:
        raise source.fault(f"holds {table.num_rows} rows; its commit record says {num_rows}")
    latent_offsets, latents = _flatten(table["latents"])
    row_offsets, values = _flatten(table["values"])
    if not np.array_equal(latent_offsets, row_offsets):
        raise source.fault("holds rows whose latents and values differ in number")
    fault = _codes_fault(row_offsets, latents, values, num_latents)
    if fault:
        raise source.fault(fault)
    return row_offsets, latents, values


def _flatten(column: "pa.ChunkedArray[Any]") -> tuple[Int64s, npt.NDArray[Any]]:
    offsets = np.zeros(len(column) + 1, np.int64)
    np.cumsum(pc.fill_null(pc.list_value_length(column), 0).to_numpy(), out=offsets[1:])
    return offsets, pc.list_flatten(column).to_numpy()


def _codes_fault(row_offsets: Int64s, latents: Int32s, values: Float32s, num_latents: int) -> str | None:
    if len(latents) == 0:
        return None
    if latents.min() < 0 or latents.max() >= num_latents:
        return f"names a latent outside [0, {num_latents})"
    ascends = np.diff(latents) > 0
    starts = row_offsets[1:-1]
    ascends[starts[(starts > 0) & (starts < len(latents))] - 1] = True
    if not ascends.all():
        return "holds a row whose latents do not ascend"
    if not (np.isfinite(values).all() and values.min() > 0):
        return "holds a value that is not positive and finite"
    return None
