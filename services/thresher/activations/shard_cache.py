"""A local copy of every shard that is read: the file itself for a local store, a verified download else."""

import os
import threading
from pathlib import Path

from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import FileEntry
from thresher.storage import ObjectStore
from thresher.storage.artifacts import check_sizes, file_fault
from thresher.storage.read_file import download


class ShardCache:
    """A folder of downloads, kept under a size; several processes may share it.

    What was used the longest ago is removed first, and nothing that this cache has handed out. A file that another
    process has mapped stays readable to it when its name is removed.
    """

    def __init__(self, folder: Path, max_bytes: int | None = None) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._handed_out: set[str] = set()
        self._lock = threading.Lock()

    def local_shard(self, store: ObjectStore, entry: FileEntry) -> Path:
        """Path of a file with the bytes of `entry`.

        A download is verified by sha256 before it appears under its hash's name, so whatever stands there is whole.

        Raises:
            ObjectMissingError: a remote object is missing.
            IntegrityError: the object is not what the entry says; names it.
        """
        path = store.local_path(entry.key)
        if path is not None:
            check_sizes(store, [entry])
            return path
        cached = self._folder / f"{entry.sha256}.arrow"
        with self._lock:
            self._handed_out.add(cached.name)
            if not cached.exists():
                self._make_room(entry.size)
        if cached.exists():
            os.utime(cached)
        else:
            download(store, entry, cached)
        return cached

    def _make_room(self, num_bytes: int) -> None:
        if self._max_bytes is None or not self._folder.is_dir():
            return
        files = {path: path.stat() for path in self._folder.glob("*.arrow")}
        size = sum(found.st_size for found in files.values())
        for path, found in sorted(files.items(), key=lambda item: item[1].st_mtime):
            if size + num_bytes <= self._max_bytes:
                return
            if path.name not in self._handed_out:
                path.unlink(missing_ok=True)
                size -= found.st_size


def verify_local_shard(store: ObjectStore, entry: FileEntry) -> None:
    """Hash a shard of a local store; of a remote one check the size, since its download will be hashed.

    Raises:
        IntegrityError: the object is not what the entry says; names it.
    """
    if store.local_path(entry.key) is None:
        check_sizes(store, [entry])
    elif (fault := file_fault(store, entry)) is not None:
        raise IntegrityError(f"{fault}. Restore the file or harvest again.")
