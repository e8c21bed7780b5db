"""Dense activations of one site: memory-mapped shards, rows gathered in any order.

Shape suffixes: N rows asked for, D width of the site.
"""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from thresher.activations.row_decoding import RawRows, RowDecoding, raw_rows
from thresher.activations.shard_cache import local_shard, verify_local_shard
from thresher.contracts.errors import IntegrityError, SpecError
from thresher.contracts.manifests import HarvestManifest, ShardCommit, SiteFile
from thresher.contracts.schemas import dense_rows, num_int8_blocks
from thresher.storage import ObjectStore

IndexArray = npt.NDArray[np.int64]
GATHERED_DTYPES = {"bfloat16": np.uint16, "float16": np.float16, "int8": np.float32}


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
        self._encoding = manifest.encoding
        self._schema = dense_rows(manifest.encoding, self.width)
        self._maps: list[pa.MemoryMappedFile] = []
        self._batches: list[_Batch] = []
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
        gathered_ND = np.empty((len(rows_N), self.width), dtype=GATHERED_DTYPES[self._encoding])
        bounds = np.searchsorted(sorted_N, self._batch_starts)
        for index in np.flatnonzero(np.diff(bounds)):
            part = slice(bounds[index], bounds[index + 1])
            gathered_ND[order[part]] = self._batches[index].take(sorted_N[part] - self._batch_starts[index])
        x_ND = torch.from_numpy(gathered_ND)
        return (x_ND.view(torch.bfloat16) if self._encoding == "bfloat16" else x_ND).to(dtype)

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
        decoding = RowDecoding.of(reader.schema)
        if not reader.schema.equals(self._schema) or decoding.encoding != self._encoding:
            raise IntegrityError(f"{entry.key} has the schema {reader.schema}, not the one of its manifest.")
        num_rows = sum(batch.num_rows for batch in batches)
        if num_rows != shard.num_rows:
            raise IntegrityError(f"{entry.key} has {num_rows} rows; its record says {shard.num_rows}.")
        self._batches += [_Batch.of(batch, self.width, decoding) for batch in batches]


@dataclass(frozen=True)
class _Batch:
    """A record batch as views of its buffers."""

    raw_ND: RawRows
    scale_NG: RawRows | None
    decoding: RowDecoding

    @classmethod
    def of(cls, batch: pa.RecordBatch, width: int, decoding: RowDecoding) -> Self:
        has_scale = "scale" in batch.schema.names
        scale_NG = raw_rows(batch.column("scale"), num_int8_blocks(width)) if has_scale else None
        return cls(raw_rows(batch.column("x"), width), scale_NG, decoding)

    def __len__(self) -> int:
        return len(self.raw_ND)

    def take(self, rows_N: IndexArray) -> RawRows:
        """Rows of the batch: int8 ones decoded, the others left for torch to convert."""
        raw_ND = self.raw_ND[rows_N]
        return raw_ND if self.scale_NG is None else self.decoding.decode(raw_ND, self.scale_NG[rows_N])


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
