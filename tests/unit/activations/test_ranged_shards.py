"""Rows of a remote store by ranged reads: the same rows, few bytes, bounded memory."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.harvests import write_harvest
from fixtures.import_sources import put_npy
from fixtures.remote_stores import RemoteStore
from thresher.activations.arrow_layout import read_layout
from thresher.activations.block_shuffle import BlockOrder
from thresher.activations.dense_reader import DenseSite
from thresher.activations.importer.run import import_activations
from thresher.activations.importer.spec import ImportSpec
from thresher.activations.loader import BatchLoader, BatchPlan
from thresher.activations.ranged_shards import RangedShards
from thresher.activations.row_source import AlignedRows, SiteColumns
from thresher.activations.shuffle import EndlessOrder
from thresher.activations.split_rows import SplitRows
from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import HarvestManifest
from thresher.storage import ObjectStore

SITE, LENGTH, WIDTH = "resid_post.1", 16, 40
NUM_ROWS = 60 * LENGTH


def harvest(store: ObjectStore, encoding: str) -> HarvestManifest:
    x_ND = np.random.default_rng(0).standard_normal((NUM_ROWS, WIDTH)).astype(np.float32)
    if encoding != "int8":
        splits = {"fit": 43, "explain": 7, "report": 10}
        return write_harvest(store, {SITE: x_ND}, sequence_length=LENGTH, splits=splits, encoding=encoding)
    spec = {
        "root": store.url,
        "sites": {SITE: put_npy(store, "x", x_ND)},
        "encoding": "int8",
        "rows_per_shard": 130,
        "sequence_length": LENGTH,
    }
    return import_activations(ImportSpec.parse(spec))


@pytest.mark.parametrize("encoding", ["float16", "bfloat16", "int8"])
def test_ranged_rows_are_the_mapped_rows(store: ObjectStore, tmp_path: Path, encoding: str) -> None:
    manifest = harvest(store, encoding)
    rows_N = np.random.default_rng(1).integers(0, NUM_ROWS, 300)
    with (
        DenseSite(store, manifest, SITE, tmp_path) as mapped,
        DenseSite(RemoteStore(store), manifest, SITE, tmp_path, ranged=True) as ranged,
    ):
        expected = mapped.gather(rows_N)
        assert torch.equal(ranged.gather(rows_N), expected), "rows that nobody announced"
        ranged.expect([(0, 100), (500, NUM_ROWS)])
        assert torch.equal(ranged.gather(rows_N), expected), "rows of which some were announced"
        ranged.expect([(0, NUM_ROWS)])
        assert torch.equal(ranged.gather(rows_N), expected)


def test_an_epoch_in_blocks_reads_each_byte_once_in_bounded_memory(
    store: ObjectStore, tmp_path: Path
) -> None:
    manifest, remote = harvest(store, "bfloat16"), RemoteStore(store)
    with DenseSite(remote, manifest, SITE, tmp_path, ranged=True) as site:
        source = AlignedRows([SiteColumns(site, SplitRows(manifest, "fit", 0))])
        order = BlockOrder(len(source), seed=0, block_rows=32, window_blocks=3)
        held = []
        with BatchLoader(source, BatchPlan(order, 20), 0, len(source) // 20) as loader:
            read = []
            for _, pairs in loader:
                read.append(pairs.x_BD.clone())
                held.append(site._shards.held_bytes)
    assert max(held) <= 2 * 3 * 32 * WIDTH * 2
    assert site._shards.held_bytes == 0
    with DenseSite(store, manifest, SITE, tmp_path) as mapped:
        rows = SplitRows(manifest, "fit", 0).to_harvest_rows(order.items(0, len(source) // 20 * 20))
        assert torch.equal(torch.cat(read), mapped.gather(rows))
    headers = sum(shard.sites[SITE].size - shard.num_rows * WIDTH * 2 for shard in manifest.shards)
    assert remote.num_bytes <= 43 * LENGTH * WIDTH * 2 + 2 * 32 * WIDTH * 2 + 30 * headers


def test_only_what_is_expected_is_held(store: ObjectStore) -> None:
    manifest = harvest(store, "bfloat16")
    shards = RangedShards(RemoteStore(store), manifest, SITE)
    shards.expect([(0, 64), (700, 720)])
    shards.pieces(np.array([0, 63, 719]))
    assert shards.held_bytes == 84 * WIDTH * 2
    shards.expect([(0, 64)])
    assert shards.held_bytes == 64 * WIDTH * 2
    shards.expect([])
    assert shards.held_bytes == 0
    shards.close()


def test_a_global_order_over_ranges_is_slow_and_right(store: ObjectStore, tmp_path: Path) -> None:
    manifest = harvest(store, "bfloat16")
    order = EndlessOrder(NUM_ROWS, 0)
    with (
        DenseSite(store, manifest, SITE, tmp_path) as mapped,
        DenseSite(RemoteStore(store), manifest, SITE, tmp_path, ranged=True) as ranged,
    ):
        for step in range(5):
            rows_N = order.items(step * 50, step * 50 + 50)
            assert torch.equal(ranged.gather(rows_N), mapped.gather(rows_N))


@pytest.mark.parametrize("kept_bytes", [0, 5, 100, -1, -10, -200])
def test_a_truncated_shard_is_refused(store: ObjectStore, tmp_path: Path, kept_bytes: int) -> None:
    manifest = harvest(store, "bfloat16")
    key = manifest.shards[2].sites[SITE].key
    store.put(key, store.get(key)[:kept_bytes])
    with DenseSite(RemoteStore(store), manifest, SITE, tmp_path, ranged=True) as site:
        site.expect([(0, NUM_ROWS)])
        with pytest.raises(IntegrityError, match=key):
            site.gather(np.arange(NUM_ROWS))


def test_random_bytes_never_pass_for_a_file() -> None:
    """Whatever stands where the headers should be, the answer is an IntegrityError."""
    rng = np.random.default_rng(0)
    for trial in range(300):
        size = int(rng.integers(0, 400))
        data = rng.integers(0, 256, size, dtype=np.uint8).tobytes()
        data += int(rng.integers(0, 300)).to_bytes(4, "little") + b"ARROW1" if trial % 2 else b""
        with pytest.raises(IntegrityError, match="here"):
            read_layout(lambda start, stop, data=data: data[start:stop], len(data), "here")
