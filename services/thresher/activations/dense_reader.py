"""Dense activations of one site: one matrix of rows, gathered in any order.

Shape suffixes: N rows asked for, D width of the site.
"""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import torch

from thresher.activations.mapped_shards import MappedShards
from thresher.activations.ranged_shards import RangedShards
from thresher.activations.row_gather import FloatArray, IndexArray, Pieces, gather_rows
from thresher.activations.shard_cache import ShardCache, verify_local_shard
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import HarvestManifest
from thresher.storage import ObjectStore


class SiteShards(Protocol):
    """How the rows of a site get into memory."""

    def pieces(self, rows_N: IndexArray) -> Pieces:
        """Where these rows lie, waited for; holds until the next call."""

    def expect(self, ranges: Iterable[tuple[int, int]]) -> None:
        """The ranges of rows that will be asked for soon."""

    def close(self) -> None: ...


class DenseSite:
    """All shards of a site as one matrix of rows, in the order of the shards.

    Args:
        store: where the harvest lies.
        manifest: of the harvest.
        site: name of the site.
        cache: local folder for shards of a remote store, or the cache that keeps it.
        ranged: fetch ranges of a remote store's shards into memory, instead of whole shards into the cache.

    Raises:
        SpecError: the harvest has no such site, or holds sparse codes.
        IntegrityError: a shard is not what its commit record says; names the file.
    """

    def __init__(
        self,
        store: ObjectStore,
        manifest: HarvestManifest,
        site: str,
        cache: Path | ShardCache,
        *,
        ranged: bool = False,
    ) -> None:
        check_dense_site(manifest, site)
        self.width = manifest.sites[site].width
        self.row_bytes = stored_bytes(manifest, site) // max(1, manifest.num_rows)
        """Bytes that a stored row takes."""
        self._encoding = str(manifest.encoding)
        self._num_rows = sum(shard.num_rows for shard in manifest.shards)
        self._shards: SiteShards = (
            RangedShards(store, manifest, site)
            if ranged
            else MappedShards(
                store, manifest, site, cache if isinstance(cache, ShardCache) else ShardCache(cache)
            )
        )

    def __len__(self) -> int:
        return self._num_rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shards.close()

    def gather(self, rows_N: IndexArray, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Rows by number, in the order asked for, as a new x_ND."""
        x_ND = np.empty((len(rows_N), self.width), np.float32)
        self.gather_into(x_ND, rows_N, np.arange(len(rows_N)))
        return torch.from_numpy(x_ND).to(dtype)

    def gather_into(
        self, x_MD: FloatArray, rows_N: IndexArray, places_N: IndexArray, factor: float = 1.0
    ) -> None:
        """Write row rows_N[n], times a factor, to x_MD[places_N[n]]."""
        rows_N = np.ascontiguousarray(rows_N, np.int64)
        assert rows_N.size == 0 or (rows_N.min() >= 0 and rows_N.max() < len(self)), "row outside the harvest"
        assert x_MD.shape[1] == self.width, "rows of another width"
        assert len(rows_N) == len(places_N), "a place for each row"
        assert places_N.size == 0 or (places_N.min() >= 0 and places_N.max() < len(x_MD)), "place outside"
        if rows_N.size:
            gather_rows(self._shards.pieces(rows_N), self._encoding, rows_N, x_MD, places_N, factor)

    def expect(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Ranges of rows that will be asked for soon; replaces those of the last call."""
        self._shards.expect(ranges)


def stored_bytes(manifest: HarvestManifest, site: str) -> int:
    """Size of all shards of a site."""
    return sum(shard.sites[site].size for shard in manifest.shards)


def verify_site(store: ObjectStore, manifest: HarvestManifest, site: str) -> None:
    """Read every shard of a site in a local store once; of a remote one check the sizes.

    Raises:
        IntegrityError: a shard is not what its commit record says; names the file.
    """
    for shard in manifest.shards:
        verify_local_shard(store, shard.sites[site])


def check_dense_site(manifest: HarvestManifest, site: str, *, field: str = "site") -> None:
    """Raise SpecError of the field unless the harvest holds dense activations of the site."""
    if site not in manifest.sites:
        raise SpecError(
            field,
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
