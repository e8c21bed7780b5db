"""The files behind a source: one file, a folder or a pattern, on disk or in a bucket."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from thresher.contracts.errors import SpecError
from thresher.storage import ObjectStore, open_store
from thresher.storage.read_file import ObjectReader, open_input

Advance = Callable[[int], None]
"""Told the number of bytes of each step."""

WILDCARD = re.compile(r"[*?[]")


@dataclass(frozen=True)
class SourceFile:
    store: ObjectStore
    key: str
    name: str
    """Relative to what the source names: the same wherever the source lies."""
    size: int
    """Bytes."""

    @property
    def url(self) -> str:
        return f"{self.store.url}/{self.key}"

    def read(self) -> bytes:
        return self.store.get(self.key)

    def open_random(self) -> pa.NativeFile:
        """For columnar formats: a memory map on disk."""
        return open_input(self.store, self.key)

    def open_stream(self) -> pa.NativeFile:
        """For reading from end to end: one window in memory."""
        return pa.PythonFile(ObjectReader(self.store, self.key), mode="r")


@dataclass(frozen=True)
class Folder:
    """A folder of a disk or a bucket."""

    store: ObjectStore
    prefix: str
    """Empty, or ends with a slash."""

    @property
    def url(self) -> str:
        return f"{self.store.url}/{self.prefix}".rstrip("/")

    def file(self, name: str) -> SourceFile | None:
        info = self.store.head(self.prefix + name)
        return SourceFile(self.store, info.key, name, info.size) if info else None

    def folder(self, name: str) -> "Folder":
        return Folder(self.store, f"{self.prefix}{name}/")

    def matching(self, pattern: str) -> list[SourceFile]:
        """Files below that match, by name: * and ? stay within a folder, ** crosses folders."""
        matches = re.compile(_pattern_regex(pattern)).fullmatch
        return [
            SourceFile(self.store, info.key, info.key[len(self.prefix) :], info.size)
            for info in self.store.list(self.prefix)
            if matches(info.key[len(self.prefix) :])
        ]


def open_folder(path: str) -> Folder:
    """A folder by path, file:// url or s3://bucket/prefix; whether it is there shows when it is read."""
    if path.startswith("s3://"):
        bucket, _, key = path.removeprefix("s3://").partition("/")
        key = key.strip("/")
        return Folder(open_store(f"s3://{bucket}"), f"{key}/" if key else "")
    local = Path(unquote(urlsplit(path).path) if path.startswith("file://") else path)
    return Folder(open_store(local.absolute().as_uri()), "")


def find_files(field: str, path: str, suffixes: Sequence[str]) -> list[SourceFile]:
    """The file at `path`; or the files that it matches; or those of the folder that end with a suffix. By name.

    Raises:
        SpecError: there is none.
    """
    parent, _, name = path.rstrip("/").rpartition("/")
    one = open_folder(parent or ("/" if path.startswith("/") else ".")).file(name) if name else None
    if one is not None:
        return [one]
    if WILDCARD.search(path):
        fixed, pattern = _cut_at_wildcard(path)
        found = open_folder(fixed).matching(pattern)
    else:
        found = [file for file in open_folder(path).matching("**") if file.name.endswith(tuple(suffixes))]
    if not found:
        raise SpecError(
            field, path, mend=f"Give a file, a folder of *{suffixes[0]} or a pattern that is there."
        )
    return found


def _cut_at_wildcard(path: str) -> tuple[str, str]:
    parts = path.split("/")
    first = next(index for index, part in enumerate(parts) if WILDCARD.search(part))
    return "/".join(parts[:first]) or ("/" if path.startswith("/") else "."), "/".join(parts[first:])


def _pattern_regex(pattern: str) -> str:
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^\]/]+\])", pattern)
    meanings = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        meanings.get(piece) or (piece.replace("[!", "[^") if index % 2 else re.escape(piece))
        for index, piece in enumerate(pieces)
    )
