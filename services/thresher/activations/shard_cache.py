"""A local copy of every shard that is read: the file itself for a local store, a verified download else."""

from pathlib import Path

from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import FileEntry
from thresher.storage import ObjectStore
from thresher.storage.artifacts import check_sizes, file_fault
from thresher.storage.read_file import download


def local_shard(store: ObjectStore, entry: FileEntry, cache_dir: Path) -> Path:
    """Path of a file with the bytes of `entry`.

    A download is verified by sha256 before it appears under its hash's name, so whatever stands there is
    whole; several processes may share the folder.

    Raises:
        ObjectMissingError: a remote object is missing.
        IntegrityError: the object is not what the entry says; names it.
    """
    path = store.local_path(entry.key)
    if path is not None:
        check_sizes(store, [entry])
        return path
    cached = cache_dir / f"{entry.sha256}.arrow"
    if not cached.exists():
        download(store, entry, cached)
    return cached


def verify_local_shard(store: ObjectStore, entry: FileEntry) -> None:
    """Hash a shard of a local store; of a remote one check the size, since its download will be hashed.

    Raises:
        IntegrityError: the object is not what the entry says; names it.
    """
    if store.local_path(entry.key) is None:
        check_sizes(store, [entry])
    elif (fault := file_fault(store, entry)) is not None:
        raise IntegrityError(f"{fault}. Restore the file or harvest again.")
