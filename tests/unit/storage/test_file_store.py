"""What is particular to stores in a folder."""

import errno
import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from thresher.contracts.errors import StoreError
from thresher.storage import ObjectStore, open_store
from thresher.storage.file_writer import ABANDONED_AFTER_S

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def folder_store(folder: Path) -> ObjectStore:
    return open_store(folder.as_uri())


@contextmanager
def largest_file(num_bytes: int) -> Iterator[None]:
    """Let this process write no file longer than this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def write(store: ObjectStore, key: str, size: int) -> None:
    with store.open_write(key) as writer:
        for _ in range(size // 1000):
            writer.write(bytes(1000))


def test_a_full_disk_is_named_and_keeps_what_was_finished(folder: Path, folder_store: ObjectStore) -> None:
    folder_store.put("finished", b"x")

    with (
        largest_file(MIB),
        pytest.raises(StoreError, match=r"unfinished: the disk is full.*finished before is kept"),
    ):
        write(folder_store, "unfinished", 2 * MIB)
    assert [info.key for info in folder_store.list("")] == ["finished"]
    assert list((folder / ".tmp").iterdir()) == []


def test_a_disk_that_is_full_only_at_the_last_flush_counts_too(
    folder: Path, folder_store: ObjectStore
) -> None:
    with largest_file(100), pytest.raises(StoreError, match="the disk is full"):
        folder_store.put("key", bytes(101))
    assert folder_store.head("key") is None
    assert list((folder / ".tmp").iterdir()) == []


def test_bytes_are_on_the_disk_before_they_have_a_name(
    folder: Path, folder_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    visible_at_sync: list[bool] = []
    sync = os.fsync

    def watch(descriptor: int) -> None:
        visible_at_sync.append((folder / "key").exists())
        sync(descriptor)

    folder_store.put("other", b"")
    monkeypatch.setattr(os, "fsync", watch)
    folder_store.put("key", b"x")
    assert visible_at_sync == [False, True]  # the file, then the folder that names it


def test_a_key_cannot_be_a_folder_of_another(folder_store: ObjectStore) -> None:
    folder_store.put("a/b", b"x")

    for key in ("a", "a/b/c"):
        with pytest.raises(StoreError, match="cannot be a folder of another"):
            folder_store.put(key, b"y")
    assert folder_store.get("a/b") == b"x"


def test_unfinished_files_of_killed_writers_go_after_a_day(folder: Path, folder_store: ObjectStore) -> None:
    (folder / ".tmp").mkdir(parents=True)
    old, new = folder / ".tmp" / "old", folder / ".tmp" / "new"
    for path, age_s in ((old, ABANDONED_AFTER_S + 60), (new, ABANDONED_AFTER_S - 60)):
        path.write_bytes(b"x")
        os.utime(path, times=(time.time() - age_s,) * 2)
    folder_store.put("key", b"x")

    assert list((folder / ".tmp").iterdir()) == [new]
    assert [info.key for info in folder_store.list("")] == ["key"]


def test_a_file_system_without_hard_links_has_no_conditional_writes(
    folder_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*paths: object, **options: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert not folder_store.has_conditional_writes()
    assert "let one coordinator alone write manifests" in caplog.text
    assert list(folder_store.list("")) == []


def test_local_paths_are_the_objects(folder: Path, folder_store: ObjectStore) -> None:
    folder_store.put("a/b", b"x")

    assert folder_store.local_path("a/b") == folder / "a" / "b"
