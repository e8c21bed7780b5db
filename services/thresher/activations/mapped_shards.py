"""All shards of a site as memory-mapped files: those of a local store, or copies in the cache."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa

from thresher.activations.row_decoding import RowDecoding, raw_rows
from thresher.activations.row_gather import IndexArray, Pieces
from thresher.activations.shard_cache import ShardCache
from thresher.activations.stored_rows import StoredRun, pieces_of
from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import HarvestManifest, ShardCommit, SiteFile
from thresher.contracts.schemas import dense_rows, num_int8_blocks
from thresher.storage import ObjectStore

NUM_DOWNLOADS = 4


class MappedShards:
    """Every record batch is a view of its file: nothing is read before it is asked for.

    Raises:
        IntegrityError: a shard is not what its commit record says; names the file. Downloads are hashed; files
            of a local store only by `verify_site`, once a run.
    """

    def __init__(self, store: ObjectStore, manifest: HarvestManifest, site: str, cache: ShardCache) -> None:
        self._width = manifest.sites[site].width
        self._schema = dense_rows(str(manifest.encoding), self._width)
        self._maps: list[pa.MemoryMappedFile] = []
        self._runs: list[StoredRun] = []
        shards = sorted(manifest.shards, key=lambda item: item.index)
        entries = [shard.sites[site] for shard in shards]
        with ThreadPoolExecutor(NUM_DOWNLOADS, thread_name_prefix="shard-download") as pool:
            local = pool.map(lambda entry: cache.local_shard(store, entry), entries)
            for path, entry, shard in zip(local, entries, shards, strict=True):
                self._map(path, entry, shard)
        self._pieces = pieces_of(self._runs, self._width)

    def pieces(self, rows_N: IndexArray) -> Pieces:
        """Where rows lie; of this site always all of them."""
        return self._pieces

    def expect(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Nothing is to be done: the system reads files ahead."""

    def close(self) -> None:
        """Give the maps back. Rows that were gathered are copies and stay."""
        self._runs.clear()
        for mapped in self._maps:
            mapped.close()

    def _map(self, path: Path, entry: SiteFile, shard: ShardCommit) -> None:
        mapped = pa.memory_map(str(path))
        self._maps.append(mapped)
        try:
            reader = pa.ipc.open_file(mapped)
            batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        except (pa.ArrowInvalid, OSError) as error:
            raise IntegrityError(
                f"{entry.key} is not a readable Arrow file ({error}): harvest it again."
            ) from error
        check_schema(reader.schema, self._schema, entry)
        num_rows = sum(batch.num_rows for batch in batches)
        if num_rows != shard.num_rows:
            raise IntegrityError(f"{entry.key} has {num_rows} rows; its record says {shard.num_rows}.")
        self._add(batches, RowDecoding.of(reader.schema))

    def _add(self, batches: Sequence[pa.RecordBatch], decoding: RowDecoding) -> None:
        first_row = self._runs[-1].first_row + len(self._runs[-1].raw_ND) if self._runs else 0
        starts = np.cumsum([first_row, *(batch.num_rows for batch in batches)])
        for start, batch in zip(starts.tolist(), batches, strict=False):
            if batch.num_rows == 0:
                continue
            has_scale = "scale" in batch.schema.names
            scale_NG = raw_rows(batch.column("scale"), num_int8_blocks(self._width)) if has_scale else None
            self._runs.append(StoredRun(start, raw_rows(batch.column("x"), self._width), scale_NG, decoding))


def check_schema(found: pa.Schema, wanted: pa.Schema, entry: SiteFile) -> None:
    """Raise IntegrityError where a file is not of its manifest's encoding and width."""
    metadata = found.metadata or {}
    if not found.equals(wanted) or metadata.get(b"encoding") != wanted.metadata[b"encoding"]:
        raise IntegrityError(f"{entry.key} has the schema {found}, not the one of its manifest.")
