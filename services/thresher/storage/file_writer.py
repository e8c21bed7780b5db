"""A file that appears whole under its name, durably, or not at all."""

import errno
import hashlib
import os
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from thresher.contracts.errors import StoreError
from thresher.storage.base import ConditionalWritesUnsupportedError, ObjectExistsError, ObjectInfo
from thresher.storage.file_errors import FULL_DISK, file_errors
from thresher.storage.keys import hashed_key

TEMPORARY_FOLDER = ".tmp"
ABANDONED_AFTER_S = 24 * 3600.0
NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)


class FileWriter:
    """The `ObjectWriter` of a folder.

    Bytes go to a temporary file under `.tmp/` of the root, are synced to the disk, and only then get their
    name: by a hard link where the name must be new (atomic, one winner), by a rename elsewhere.
    """

    def __init__(
        self, root: Path, key: str, *, if_absent: bool = False, hashed_suffix: str | None = None
    ) -> None:
        self._root, self._key, self._if_absent = root, key, if_absent
        self._hashed_suffix = hashed_suffix
        self._name = f"{root.as_uri()}/{key}"
        self._digest, self._size = hashlib.sha256(), 0
        self._temporary: Path | None = None
        self._file: BinaryIO | None = None
        self._info: ObjectInfo | None = None

    @property
    def key(self) -> str:
        return (
            self._key
            if self._hashed_suffix is None
            else hashed_key(self._key, self._hashed_suffix, self.sha256)
        )

    @property
    def size(self) -> int:
        return self._size

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    @property
    def closed(self) -> bool:
        return self._file is None

    @property
    def info(self) -> ObjectInfo:
        """Of the finished object."""
        assert self._info is not None, "the block has not ended well"
        return self._info

    def __enter__(self) -> Self:
        with file_errors(self._name):
            self._temporary = _new_temporary(self._root)
            self._file = self._temporary.open("xb")
        return self

    def write(self, data: bytes | memoryview) -> int:
        assert self._file is not None, "write inside the with block"
        view = memoryview(data).cast("B")
        with file_errors(self._name):
            self._file.write(view)
        self._digest.update(view)
        self._size += view.nbytes
        return view.nbytes

    def flush(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        assert self._temporary is not None
        file, self._file = self._file, None
        try:
            if kind is None:
                with file_errors(self._name):
                    self._publish(file, self._temporary)
        finally:
            self._temporary.unlink(missing_ok=True)
            _close(file)

    def _publish(self, file: BinaryIO, temporary: Path) -> None:
        file.flush()
        os.fsync(file.fileno())
        self._info = object_info(self.key, os.fstat(file.fileno()))
        path = self._root / self.key
        try:
            _make_folder(path.parent)
            if self._if_absent:
                _link(temporary, path, self._name)
            else:
                temporary.replace(path)
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            raise StoreError(
                f"{self._name}: a key cannot be a folder of another, as this one or a part of it is."
            ) from error
        _sync_folder(path.parent)


def object_info(key: str, stat: os.stat_result) -> ObjectInfo:
    return ObjectInfo(key, stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ino}")


def _new_temporary(root: Path) -> Path:
    """A free name under `.tmp/`, from which what killed writers left a day ago is removed."""
    folder = root / TEMPORARY_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        try:
            if time.time() - path.stat().st_mtime > ABANDONED_AFTER_S:
                path.unlink()
        except (FileNotFoundError, PermissionError):
            continue
    return folder / uuid.uuid4().hex


def _link(temporary: Path, path: Path, name: str) -> None:
    try:
        path.hardlink_to(temporary)
    except FileExistsError as error:
        raise ObjectExistsError(f"{name} exists already.") from error
    except OSError as error:
        if error.errno in NO_HARD_LINKS:
            raise ConditionalWritesUnsupportedError(
                f"{name}: this file system has no hard links, which creating an object once needs."
            ) from error
        raise


def _close(file: BinaryIO) -> None:
    try:
        file.close()
    except OSError as error:
        # Closing flushes once more what a full disk has refused already: the first failure is to be shown.
        if error.errno not in FULL_DISK:
            raise


def _make_folder(folder: Path) -> None:
    """As mkdir -p, with every new name synced: a file is durable only if the way to it is."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
