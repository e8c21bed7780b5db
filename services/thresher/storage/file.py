"""An object store in a local or network folder: one file an object."""

import os
from collections.abc import Iterator
from pathlib import Path

from thresher.contracts.errors import SpecError
from thresher.storage.base import ObjectInfo, ObjectMissingError
from thresher.storage.file_errors import file_errors
from thresher.storage.file_writer import TEMPORARY_FOLDER, FileWriter, object_info
from thresher.storage.keys import check_key, check_prefix
from thresher.storage.probe import ConditionalWriteProbe


class FileStore:
    """The `ObjectStore` of the folder at the absolute `path`, which the first write makes."""

    def __init__(self, path: str) -> None:
        self._root = Path(path)
        self._probe = ConditionalWriteProbe(self)

    @property
    def url(self) -> str:
        return self._root.as_uri()

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        assert start >= 0
        assert stop is None or stop >= start
        with file_errors(self._name(key)), self._path(key).open("rb") as file:
            file.seek(start)
            return file.read(-1 if stop is None else stop - start)

    def head(self, key: str) -> ObjectInfo | None:
        path = self._path(key)
        try:
            with file_errors(self._name(key)):
                return None if path.is_dir() else object_info(key, path.stat())
        except ObjectMissingError:
            return None

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> ObjectInfo:
        self._path(key)  # refuses a bad key before anything is written
        with FileWriter(self._root, key, if_absent=if_absent) as writer:
            writer.write(data)
        return writer.info

    def open_write(self, key: str) -> FileWriter:
        self._path(key)
        return FileWriter(self._root, key)

    def open_hashed(self, stem: str, suffix: str) -> FileWriter:
        self._path(f"{stem}{suffix}")
        return FileWriter(self._root, stem, hashed_suffix=suffix)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder = check_prefix(prefix).rpartition("/")[0]
        with file_errors(self._name(prefix)):
            yield from self._walk(folder, prefix)

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            with file_errors(self._name(key)):
                path.unlink()
        except ObjectMissingError:
            return

    def local_path(self, key: str) -> Path | None:
        return self._path(key)

    def has_conditional_writes(self) -> bool:
        return self._probe.holds()

    def _name(self, key: str) -> str:
        return f"{self.url}/{key}"

    def _path(self, key: str) -> Path:
        if check_key(key).split("/")[0] == TEMPORARY_FOLDER:
            raise SpecError(
                "key", key, mend=f"{TEMPORARY_FOLDER}/ holds unfinished writes: pick another name."
            )
        return self._root / key

    def _walk(self, folder: str, prefix: str) -> Iterator[ObjectInfo]:
        """Depth first; a folder sorts as `name/`, so that keys come in order."""
        for key in sorted(_names(self._root / folder, f"{folder}/" if folder else "")):
            is_folder = key.endswith("/")
            if is_folder and (key.startswith(prefix) or prefix.startswith(key)):
                yield from self._walk(key.rstrip("/"), prefix)
            elif not is_folder and key.startswith(prefix) and (info := self.head(key)):
                yield info


def _names(folder: Path, prefix: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [prefix + name for name in names if prefix + name != f"{TEMPORARY_FOLDER}/"]
