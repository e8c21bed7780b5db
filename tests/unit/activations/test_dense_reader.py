import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.harvests import write_harvest
from fixtures.remote_stores import RemoteStore
from thresher.activations.dense_reader import DenseSite, verify_site
from thresher.activations.split_rows import SplitRows
from thresher.contracts.errors import IntegrityError, SpecError
from thresher.contracts.manifests import FileEntry, HarvestManifest, SplitRange
from thresher.storage import ObjectStore

SITE = "resid_post.1"
LENGTH, WIDTH = 16, 6


@pytest.fixture
def activations() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((30 * LENGTH, WIDTH)).astype(np.float32)


def harvest(store: ObjectStore, activations: np.ndarray, encoding: str = "float16") -> HarvestManifest:
    splits = {"fit": 13, "explain": 7, "report": 10}
    return write_harvest(store, {SITE: activations}, sequence_length=LENGTH, splits=splits, encoding=encoding)


@pytest.mark.parametrize("encoding", ["float16", "bfloat16"])
def test_gather_returns_the_rows_asked_for(
    store: ObjectStore, tmp_path: Path, activations: np.ndarray, encoding: str
) -> None:
    manifest = harvest(store, activations, encoding)
    rows = np.random.default_rng(1).integers(0, len(activations), size=300)
    expected = torch.from_numpy(activations).to(getattr(torch, encoding))[torch.from_numpy(rows)]
    with DenseSite(store, manifest, SITE, tmp_path) as site:
        assert torch.equal(site.gather(rows), expected.float())
        assert torch.equal(site.gather(rows, torch.bfloat16), expected.bfloat16())


def test_the_manifest_states_the_error_of_its_encoding(
    store: ObjectStore, tmp_path: Path, activations: np.ndarray
) -> None:
    manifest = harvest(store, activations, "bfloat16")
    with DenseSite(store, manifest, SITE, tmp_path) as site:
        stored = site.gather(np.arange(len(activations))).numpy()
    error = np.linalg.norm(stored - activations) / np.linalg.norm(activations)
    assert 0 < error <= manifest.sites[SITE].relative_error < 2**-8


def test_remote_shards_are_fetched_once(store: ObjectStore, tmp_path: Path, activations: np.ndarray) -> None:
    manifest, remote = harvest(store, activations), RemoteStore(store)
    for _ in range(2):
        with DenseSite(remote, manifest, SITE, tmp_path / "cache") as site:
            assert torch.equal(site.gather(np.arange(5)), torch.from_numpy(activations[:5]).half().float())
    assert sorted(remote.fetched) == sorted(shard.sites[SITE].key for shard in manifest.shards)


def test_a_damaged_remote_shard_is_refused_and_leaves_no_file(
    store: ObjectStore, tmp_path: Path, activations: np.ndarray
) -> None:
    manifest = harvest(store, activations)
    key = flip_a_byte(store, manifest)
    with pytest.raises(IntegrityError, match=key):
        DenseSite(RemoteStore(store), manifest, SITE, tmp_path / "cache")
    assert not any(hashlib.sha256(file.read_bytes()).hexdigest() != file.stem for file in cached(tmp_path))


def test_verification_reads_every_local_shard(store: ObjectStore, activations: np.ndarray) -> None:
    manifest = harvest(store, activations)
    verify_site(store, manifest, SITE)
    key = flip_a_byte(store, manifest)
    if store.local_path(key) is not None:
        with pytest.raises(IntegrityError, match=key):
            verify_site(store, manifest, SITE)
    store.delete(key)
    with pytest.raises(IntegrityError, match=key):
        verify_site(store, manifest, SITE)


@pytest.mark.parametrize("kept_bytes", [0, 100, -10])
def test_a_truncated_shard_is_refused(
    store: ObjectStore, tmp_path: Path, activations: np.ndarray, kept_bytes: int
) -> None:
    manifest = harvest(store, activations)
    key = manifest.shards[2].sites[SITE].key
    store.put(key, store.get(key)[:kept_bytes])
    with pytest.raises(IntegrityError, match=key):
        DenseSite(store, manifest, SITE, tmp_path)


def test_bytes_that_are_no_arrow_file_are_refused(
    store: ObjectStore, tmp_path: Path, activations: np.ndarray
) -> None:
    manifest = harvest(store, activations)
    entry = manifest.shards[0].sites[SITE]
    store.put(entry.key, b"\0" * entry.size)
    with pytest.raises(IntegrityError, match=entry.key):
        DenseSite(store, manifest, SITE, tmp_path)


def test_an_unknown_site_is_refused(store: ObjectStore, tmp_path: Path, activations: np.ndarray) -> None:
    with pytest.raises(SpecError, match=SITE):
        DenseSite(store, harvest(store, activations), "resid_post.9", tmp_path)


@pytest.mark.parametrize("min_position", [0, 1, LENGTH - 1])
@pytest.mark.parametrize("split", ["fit", "explain", "report"])
def test_split_rows_are_those_of_its_sequences(
    store: ObjectStore, activations: np.ndarray, split: str, min_position: int
) -> None:
    manifest = harvest(store, activations)
    sequence, position = np.divmod(np.arange(len(activations)), LENGTH)
    wanted = manifest.splits[["fit", "explain", "report"].index(split)]
    expected = np.flatnonzero(
        (sequence >= wanted.start) & (sequence < wanted.stop) & (position >= min_position)
    )
    rows = SplitRows(manifest, split, min_position)
    assert np.array_equal(rows.to_harvest_rows(np.arange(len(rows))), expected)


def test_split_rows_of_a_harvest_that_left_sequences_out(store: ObjectStore, activations: np.ndarray) -> None:
    """Shards hold sequences 0-7, 16-23, 24-29; rows are numbered over those alone."""
    manifest = harvest(store, activations)
    manifest = manifest.model_copy(
        update={
            "shards": [manifest.shards[index] for index in (0, 2, 3)],
            "splits": [
                SplitRange(split="report", start=20, stop=30),
                SplitRange(split="fit", start=0, stop=8),
            ],
        }
    )
    rows = SplitRows(manifest, "report", 0)
    first = (8 + 4) * LENGTH
    assert np.array_equal(rows.to_harvest_rows(np.arange(len(rows))), np.arange(first, first + 10 * LENGTH))


def test_no_row_left_is_a_fault_of_the_spec(store: ObjectStore, activations: np.ndarray) -> None:
    with pytest.raises(SpecError, match="min_position"):
        SplitRows(harvest(store, activations), "fit", LENGTH)


def cached(folder: Path) -> list[Path]:
    return list((folder / "cache").glob("*"))


def flip_a_byte(store: ObjectStore, manifest: HarvestManifest) -> str:
    entry: FileEntry = manifest.shards[1].sites[SITE]
    data = bytearray(store.get(entry.key))
    data[len(data) // 2] ^= 1
    store.put(entry.key, bytes(data))
    return entry.key
