"""The objects that a source's path means: a file, or every file of a pattern, on disk or in a bucket."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import unquote

from thresher.contracts.errors import SpecError
from thresher.storage import ObjectInfo, ObjectStore, open_store
from thresher.storage.artifacts import object_sha256

PATTERN_MARKS = "*?["


@dataclass(frozen=True)
class SourceObject:
    """One file of a source, as it was when the import began."""

    store: ObjectStore
    info: ObjectInfo

    @property
    def key(self) -> str:
        return self.info.key

    @property
    def size(self) -> int:
        """Bytes."""
        return self.info.size

    @property
    def name(self) -> str:
        """For people: never holds a secret."""
        return f"{self.store.url}/{self.key}"

    def sha256(self) -> str:
        return object_sha256(self.store, self.key, self.size)

    def check_unchanged(self, field: str) -> None:
        """Raise SpecError if the file was replaced meanwhile."""
        if self.store.head(self.key) != self.info:
            raise SpecError(field, self.name, mend="The file changed while it was imported: import again.")


def find_objects(field: str, path: str) -> list[SourceObject]:
    """The files of a path or pattern in the order of their keys. `*` does not cross a folder.

    Raises:
        SpecError: nothing is there; names the field.
    """
    store, pattern = _open(path)
    found = [SourceObject(store, info) for info in _matches(store, pattern)]
    if not found:
        raise SpecError(
            field, path, mend="No file is there: give a path, or a pattern that matches at least one file."
        )
    return found


def _open(path: str) -> tuple[ObjectStore, str]:
    """The store of the folders without marks, and what is left of the path."""
    scheme, separator, rest = path.partition("://")
    if separator and scheme != "file":
        bucket, *parts = rest.split("/")
        fixed = _num_fixed(parts)
        return open_store("/".join([f"{scheme}://{bucket}", *parts[:fixed]])), "/".join(parts[fixed:])
    parts = list(Path(unquote(rest) if separator else path).absolute().parts)
    fixed = _num_fixed(parts)
    return open_store(Path(*parts[:fixed]).as_uri()), "/".join(parts[fixed:])


def _num_fixed(parts: Sequence[str]) -> int:
    marked = (index for index, part in enumerate(parts) if _is_pattern(part))
    return next(marked, len(parts) - 1)


def _is_pattern(text: str) -> bool:
    return any(mark in text for mark in PATTERN_MARKS)


def _matches(store: ObjectStore, pattern: str) -> Iterator[ObjectInfo]:
    if not _is_pattern(pattern):
        info = store.head(pattern)
        if info is not None:
            yield info
        return
    wanted = pattern.split("/")
    literal = pattern[: min(pattern.find(mark) for mark in PATTERN_MARKS if mark in pattern)]
    for info in store.list(literal):
        parts = info.key.split("/")
        if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted)):
            yield info
