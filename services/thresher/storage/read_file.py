"""Objects as seekable files, for readers of Parquet and Arrow IPC, and as verified local copies."""

import hashlib
import io
import uuid
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import FileEntry
from thresher.storage.base import ObjectMissingError, ObjectStore
from thresher.storage.file_errors import file_errors

READ_AHEAD_BYTES = 4 << 20
DOWNLOAD_CHUNK_BYTES = 8 << 20


class ObjectReader(io.RawIOBase):
    """A read-only, seekable file over ranged gets; keeps one window of `read_ahead` bytes.

    Raises:
        ObjectMissingError: there is no such object.
    """

    def __init__(self, store: ObjectStore, key: str, read_ahead: int = READ_AHEAD_BYTES) -> None:
        info = store.head(key)
        if info is None:
            raise ObjectMissingError(f"{store.url}/{key} does not exist.")
        self._store, self._key, self._size, self._read_ahead = store, key, info.size, read_ahead
        self._position, self._window_start, self._window = 0, 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Exactly `size` bytes, fewer only at the end; a large read is one request."""
        left = max(0, self._size - self._position)
        count = left if size is None or size < 0 else min(size, left)
        if count == 0:
            return b""
        start = self._position - self._window_start
        if start < 0 or start + count > len(self._window):
            self._fetch(count)
            start = 0
        self._position += count
        return self._window[start : start + count]

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # as io documents it
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _fetch(self, count: int) -> None:
        stop = min(self._size, self._position + max(count, self._read_ahead))
        self._window_start = self._position
        self._window = self._store.get(self._key, self._position, stop)
        if len(self._window) != stop - self._position:
            raise IntegrityError(f"{self._store.url}/{self._key} shrank while it was read: read it again.")


def open_input(store: ObjectStore, key: str) -> pa.NativeFile:
    """A file for `pq.ParquetFile` and `pa.ipc.open_file`: a memory map of a local folder, else ranged gets.

    Raises:
        ObjectMissingError: there is no such object.
    """
    path = store.local_path(key)
    if path is None:
        return pa.PythonFile(ObjectReader(store, key), mode="r")
    with file_errors(f"{store.url}/{key}"):
        return pa.memory_map(str(path))


def download(
    store: ObjectStore, entry: FileEntry, path: Path, advance: Callable[[int], None] = lambda num_bytes: None
) -> None:
    """Copy an object to `path`, where it appears only if its size and sha256 are the entry's.

    `advance` is told the number of bytes of each step; what it raises gives the copy up.

    Raises:
        ObjectMissingError: there is no such object.
        IntegrityError: the bytes differ from the entry; nothing is left at `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with file_errors(path.as_uri()):
            _copy(store, entry, partial, advance)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _copy(store: ObjectStore, entry: FileEntry, path: Path, advance: Callable[[int], None]) -> None:
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as file:
        while data := store.get(entry.key, size, size + DOWNLOAD_CHUNK_BYTES):
            digest.update(data)
            size += file.write(data)
            advance(len(data))
    if (size, digest.hexdigest()) != (entry.size, entry.sha256):
        raise IntegrityError(
            f"{store.url}/{entry.key} is damaged: {size:,} bytes, sha256 {digest.hexdigest()[:12]}…, where "
            f"the manifest says {entry.size:,} and {entry.sha256[:12]}…. Try again; else publish it again."
        )
