"""Dense activations of one site: memory-mapped shards, rows gathered in any order.

Shape suffixes: N rows asked for, D width of the site.
"""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from thresher.activations.shard_cache import local_shard, verify_local_shard
from thresher.contracts.errors import IntegrityError, SpecError
from thresher.contracts.manifests import HarvestManifest, ShardCommit, SiteFile
from thresher.contracts.schemas import dense_rows
from thresher.storage import ObjectStore

IndexArray = npt.NDArray[np.int64]
RawRows = npt.NDArray[Any]  # float16, or uint16 that holds bfloat16's bits


class DenseSite:
    """All shards of a site as one matrix of rows, in the order of the shards.

    Nothing is read before it is asked for: each record batch is a zero-copy view of the mapped file.

    Args:
        store: where the harvest lies.
        manifest: of the harvest.
        site: name of the site.
        cache_dir: local folder for shards of a remote store.

    Raises:
        SpecError: the harvest has no such site, or holds sparse codes.
        IntegrityError: a shard is not what its commit record says; names the file. Downloads are hashed; files
            of a local store only by `verify_site`, once a run.
    """

    def __init__(
        self,
        store: ObjectStore,
        manifest: HarvestManifest,
        site: str,
        cache_dir: Path,
        *,
        verify: bool = False,
    ) -> None:
        check_dense_site(manifest, site)
        self.width = manifest.sites[site].width
        self._is_bfloat16 = manifest.encoding == "bfloat16"
        self._schema = dense_rows(manifest.encoding, self.width)
        self._maps: list[pa.MemoryMappedFile] = []
        self._batches: list[RawRows] = []
        for shard in sorted(manifest.shards, key=lambda item: item.index):
            entry = shard.sites[site]
            self._map_shard(local_shard(store, entry, cache_dir), entry, shard)
        stops = np.cumsum([len(batch) for batch in self._batches], dtype=np.int64)
        self._batch_starts = np.concatenate([np.zeros(1, np.int64), stops])

    def __len__(self) -> int:
        return int(self._batch_starts[-1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._batches.clear()
        for mapped in self._maps:
            mapped.close()

    def gather(self, rows_N: IndexArray, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Rows by number, in the order asked for, as a new x_ND."""
        assert rows_N.size == 0 or (rows_N.min() >= 0 and rows_N.max() < len(self)), "row outside the harvest"
        order = np.argsort(rows_N, kind="stable")
        sorted_N = rows_N[order]
        raw_ND = np.empty((len(rows_N), self.width), dtype=np.uint16 if self._is_bfloat16 else np.float16)
        bounds = np.searchsorted(sorted_N, self._batch_starts)
        for index in np.flatnonzero(np.diff(bounds)):
            part = slice(bounds[index], bounds[index + 1])
            raw_ND[order[part]] = self._batches[index][sorted_N[part] - self._batch_starts[index]]
        x_ND = torch.from_numpy(raw_ND)
        return (x_ND.view(torch.bfloat16) if self._is_bfloat16 else x_ND).to(dtype)

    def _map_shard(self, path: Path, entry: SiteFile, shard: ShardCommit) -> None:
        mapped = pa.memory_map(str(path))
        self._maps.append(mapped)
        try:
            reader = pa.ipc.open_file(mapped)
            batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        except (pa.ArrowInvalid, OSError) as error:
            raise IntegrityError(
                f"{entry.key} is not a readable Arrow file ({error}): harvest it again."
            ) from error
        if not reader.schema.equals(self._schema, check_metadata=True):
            raise IntegrityError(f"{entry.key} has the schema {reader.schema}, not the one of its manifest.")
        num_rows = sum(batch.num_rows for batch in batches)
        if num_rows != shard.num_rows:
            raise IntegrityError(f"{entry.key} has {num_rows} rows; its record says {shard.num_rows}.")
        self._batches += [_matrix(batch, self.width) for batch in batches]


def _matrix(batch: pa.RecordBatch, width: int) -> RawRows:
    """The one column of a record batch as a view of its buffer."""
    column: Any = batch.column(0)
    matrix: RawRows = column.flatten().to_numpy(zero_copy_only=True).reshape(-1, width)
    return matrix


def verify_site(store: ObjectStore, manifest: HarvestManifest, site: str) -> None:
    """Read every shard of a site in a local store once; of a remote one check the sizes.

    Raises:
        IntegrityError: a shard is not what its commit record says; names the file.
    """
    for shard in manifest.shards:
        verify_local_shard(store, shard.sites[site])


def check_dense_site(manifest: HarvestManifest, site: str) -> None:
    """Raise SpecError unless the harvest holds dense activations of the site."""
    if site not in manifest.sites:
        raise SpecError(
            "site",
            site,
            allowed=sorted(manifest.sites),
            mend=f"Pick a site that harvest {manifest.harvest_id} holds.",
        )
    if manifest.encoding == "sparse":
        raise SpecError(
            "harvest",
            manifest.harvest_id,
            allowed="harvests without a dictionary",
            mend="This harvest holds sparse codes: give the id of one that holds dense activations.",
        )
