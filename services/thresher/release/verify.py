"""Re-reading every byte of an artifact in the store."""

from collections.abc import Iterator
from typing import Any

from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import MANIFEST_KINDS, FileEntry, Record
from thresher.runtime.progress import progress
from thresher.storage import ObjectStore
from thresher.storage.artifacts import file_fault, read_record


def verify(store: ObjectStore, artifact: str) -> list[str]:
    """Re-read every file of an artifact: what is wrong, a line a file; empty if nothing is.

    Args:
        store: where it lies.
        artifact: its folder under the root, such as releases/name/1.

    Raises:
        SpecError: the path is of no kind of artifact.
        MissingArtifactError: there is no such artifact.
        IntegrityError: its manifest is damaged.
    """
    entries = list(file_entries(read_manifest(store, artifact)))
    faults = []
    with progress("verify", sum(entry.size for entry in entries), "bytes") as meter:
        for entry in entries:
            fault = file_fault(store, entry)
            if fault is not None:
                faults.append(fault)
            meter.advance(entry.size)
    return faults


def read_manifest(store: ObjectStore, artifact: str) -> Record:
    """The manifest of any artifact, by its folder under the root.

    Raises:
        SpecError: the path is of no kind of artifact.
        MissingArtifactError: there is no such artifact.
        IntegrityError: its manifest is damaged.
    """
    folder = artifact.strip("/")
    kind = folder.partition("/")[0]
    if kind not in MANIFEST_KINDS:
        allowed = [f"{known}/…" for known in MANIFEST_KINDS]
        raise SpecError("artifact", artifact, allowed=allowed, mend="Give its folder under the root.")
    return read_record(store, paths.manifest(folder), MANIFEST_KINDS[kind])


def file_entries(value: Any) -> Iterator[FileEntry]:
    """Every file that a manifest names, wherever in it."""
    if isinstance(value, FileEntry):
        yield value
    elif isinstance(value, Record):
        for _, item in value:
            yield from file_entries(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from file_entries(item)
    elif isinstance(value, list):
        for item in value:
            yield from file_entries(item)
