"""The commit protocol, with and without conditional writes."""

from pathlib import Path

import pytest

from thresher.contracts.errors import AlreadyExistsError, IntegrityError, MissingArtifactError
from thresher.contracts.manifests import FileEntry, ReleaseManifest
from thresher.storage import ObjectExistsError
from thresher.storage.artifacts import (
    check_sizes,
    create_record,
    file_fault,
    find_record,
    publish_manifest,
    put_file,
    read_record,
)
from thresher.storage.base import ObjectInfo
from thresher.storage.file import FileStore


class UnconditionalStore(FileStore):
    """A folder as a store that ignores conditions, as some S3 servers do."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> ObjectInfo:
        return super().put(key, data)


@pytest.fixture(params=[FileStore, UnconditionalStore])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    store = request.param(str(tmp_path))
    assert isinstance(store, FileStore)
    return store


def manifest(release_id: str) -> ReleaseManifest:
    return ReleaseManifest(
        name="n", version="1", release_id=release_id, files=[], lineage={}, code_version="0"
    )


def test_the_probe_tells_the_two_apart(tmp_path: Path) -> None:
    assert FileStore(str(tmp_path)).has_conditional_writes()
    assert not UnconditionalStore(str(tmp_path)).has_conditional_writes()


def test_the_first_record_holds(any_store: FileStore) -> None:
    assert create_record(any_store, "r.json", manifest("first")) == manifest("first")
    assert create_record(any_store, "r.json", manifest("second")) == manifest("first")
    assert read_record(any_store, "r.json", ReleaseManifest) == manifest("first")


def test_a_manifest_is_published_once(any_store: FileStore) -> None:
    publish_manifest(any_store, "releases/n/1", manifest("first"))

    assert publish_manifest(any_store, "releases/n/1", manifest("first")) == manifest("first")
    with pytest.raises(AlreadyExistsError, match="immutable"):
        publish_manifest(any_store, "releases/n/1", manifest("second"))
    assert read_record(any_store, "releases/n/1/manifest.json", ReleaseManifest) == manifest("first")


def test_a_missing_record_and_a_damaged_one_are_told_apart(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))
    assert find_record(store, "r.json", ReleaseManifest) is None
    with pytest.raises(MissingArtifactError, match=r"r\.json does not exist"):
        read_record(store, "r.json", ReleaseManifest)
    create_record(store, "r.json", manifest("first"))
    store.put("r.json", store.get("r.json", 0, 40))

    with pytest.raises(IntegrityError, match="truncated or of another format"):
        find_record(store, "r.json", ReleaseManifest)


def test_files_are_described_and_their_faults_found(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))
    entry = put_file(store, "data", b"12345")
    check_sizes(store, [entry])
    assert file_fault(store, entry) is None

    store.put("data", b"12346")
    check_sizes(store, [entry])
    assert "sha256" in str(file_fault(store, entry))
    store.put("data", b"1234")
    assert file_fault(store, entry) == "data: 4 bytes, should be 5"
    with pytest.raises(IntegrityError, match="has 4 bytes; its record says 5"):
        check_sizes(store, [entry])
    store.delete("data")
    assert file_fault(store, entry) == "data: missing"
    with pytest.raises(IntegrityError, match="is missing"):
        check_sizes(store, [FileEntry(key="data", size=5, sha256="")])


def test_a_losing_conditional_put_is_an_error_of_its_own(tmp_path: Path) -> None:
    store = FileStore(str(tmp_path))
    store.put("a", b"", if_absent=True)
    with pytest.raises(ObjectExistsError):
        store.put("a", b"", if_absent=True)
