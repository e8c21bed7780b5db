"""The commit protocol: an artifact is whole when its manifest exists, and never changes after."""

import hashlib
import json
from collections.abc import Iterable
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from thresher.contracts import paths
from thresher.contracts.errors import AlreadyExistsError, IntegrityError, MissingArtifactError
from thresher.contracts.manifests import FileEntry, Record
from thresher.storage.base import ObjectExistsError, ObjectMissingError, ObjectStore
from thresher.storage.keys import hashed_key

RecordT = TypeVar("RecordT", bound=Record)
HASH_CHUNK_BYTES = 8 << 20


def record_bytes(record: BaseModel) -> bytes:
    return (
        json.dumps(record.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False) + "\n"
    ).encode()


def read_record(store: ObjectStore, key: str, model: type[RecordT]) -> RecordT:
    """Read a manifest or commit record.

    Raises:
        MissingArtifactError: there is none.
        IntegrityError: it is truncated or of another format.
    """
    try:
        data = store.get(key)
    except ObjectMissingError as error:
        raise MissingArtifactError(
            f"{store.url}/{key} does not exist: run the stage that makes it first, or correct the id."
        ) from error
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise IntegrityError(
            f"{store.url}/{key} is truncated or of another format ({error.error_count()} faults, first: "
            f"{error.errors()[0]['msg']}). Delete it and run the stage again."
        ) from error


def find_record(store: ObjectStore, key: str, model: type[RecordT]) -> RecordT | None:
    """As read_record, but None where there is none."""
    return read_record(store, key, model) if store.head(key) is not None else None


def create_record(store: ObjectStore, key: str, record: RecordT) -> RecordT:
    """Create a record once. If another writer was first, its record is returned: what is stored holds.

    In a store without conditional writes this is safe only if one process alone makes the artifact's records.
    """
    if not store.has_conditional_writes():
        if (found := find_record(store, key, type(record))) is None:
            store.put(key, record_bytes(record))
        return found or record
    try:
        store.put(key, record_bytes(record), if_absent=True)
    except ObjectExistsError:
        return read_record(store, key, type(record))
    return record


def publish_manifest(store: ObjectStore, artifact: str, manifest: RecordT) -> RecordT:
    """Make an artifact whole.

    Raises:
        AlreadyExistsError: another manifest, with other content, stands there already.
    """
    stored = create_record(store, paths.manifest(artifact), manifest)
    if stored != manifest:
        raise AlreadyExistsError(
            f"{store.url}/{artifact} exists with other content and is immutable: pick another name."
        )
    return stored


def put_file(store: ObjectStore, key: str, data: bytes) -> FileEntry:
    """Write an object and describe it."""
    store.put(key, data)
    return FileEntry(key=key, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def put_hashed_file(store: ObjectStore, stem: str, suffix: str, data: bytes) -> FileEntry:
    """Write an object under a key that holds its hash, and describe it."""
    sha256 = hashlib.sha256(data).hexdigest()
    key = hashed_key(stem, suffix, sha256)
    store.put(key, data)
    return FileEntry(key=key, size=len(data), sha256=sha256)


def check_sizes(store: ObjectStore, entries: Iterable[FileEntry]) -> None:
    """Cheap check before a manifest is written: every object is there, at its size."""
    for entry in entries:
        info = store.head(entry.key)
        if info is None or info.size != entry.size:
            found = "is missing" if info is None else f"has {info.size} bytes"
            raise IntegrityError(f"{store.url}/{entry.key} {found}; its record says {entry.size} bytes.")


def object_sha256(store: ObjectStore, key: str, size: int) -> str:
    digest = hashlib.sha256()
    for start in range(0, size, HASH_CHUNK_BYTES):
        digest.update(store.get(key, start, min(start + HASH_CHUNK_BYTES, size)))
    return digest.hexdigest()


def file_fault(store: ObjectStore, entry: FileEntry) -> str | None:
    """Re-read a file whole: what is wrong with it, or None."""
    info = store.head(entry.key)
    if info is None:
        return f"{entry.key}: missing"
    if info.size != entry.size:
        return f"{entry.key}: {info.size} bytes, should be {entry.size}"
    found = object_sha256(store, entry.key, info.size)
    return (
        None
        if found == entry.sha256
        else f"{entry.key}: sha256 {found[:12]}…, should be {entry.sha256[:12]}…"
    )
