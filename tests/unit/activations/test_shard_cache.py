"""The folder of downloads stays under its size."""

import os
from pathlib import Path

import pytest

from fixtures.remote_stores import RemoteStore
from thresher.activations.shard_cache import ShardCache
from thresher.contracts.manifests import FileEntry
from thresher.storage import ObjectStore
from thresher.storage.artifacts import put_file


@pytest.fixture
def entries(store: ObjectStore) -> list[FileEntry]:
    return [put_file(store, f"shards/{index}", bytes([index]) * 1000) for index in range(6)]


def age(folder: Path, entry: FileEntry, seconds: int) -> None:
    path = folder / f"{entry.sha256}.arrow"
    os.utime(path, (path.stat().st_atime - seconds, path.stat().st_mtime - seconds))


def test_what_was_not_used_for_longest_goes_first(
    store: ObjectStore, tmp_path: Path, entries: list[FileEntry]
) -> None:
    remote, folder = RemoteStore(store), tmp_path / "cache"
    before = ShardCache(folder, 10_000)
    for index in range(3):
        before.local_shard(remote, entries[index])
    for index, seconds in ((0, 20), (1, 30), (2, 10)):
        age(folder, entries[index], seconds)
    ShardCache(folder, 3500).local_shard(remote, entries[1])  # used again: now the youngest
    cache = ShardCache(folder, 3500)
    cache.local_shard(remote, entries[3])
    left = {path.stem for path in folder.glob("*.arrow")}
    assert left == {entries[index].sha256 for index in (1, 2, 3)}


def test_nothing_that_is_in_use_goes(store: ObjectStore, tmp_path: Path, entries: list[FileEntry]) -> None:
    cache = ShardCache(tmp_path / "cache", 2500)
    paths = [cache.local_shard(RemoteStore(store), entry) for entry in entries]
    assert all(path.exists() for path in paths)


def test_a_local_store_needs_no_copy(store: ObjectStore, tmp_path: Path, entries: list[FileEntry]) -> None:
    if store.local_path("x") is None:
        pytest.skip("a remote store")
    path = ShardCache(tmp_path / "cache", 1).local_shard(store, entries[0])
    assert path == store.local_path(entries[0].key)
    assert not (tmp_path / "cache").exists()
