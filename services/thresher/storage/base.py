"""The object store as the rest of thresher sees it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from thresher.contracts.errors import StoreError


class ObjectMissingError(StoreError):
    """There is no object of that key."""


class ObjectExistsError(StoreError):
    """A conditional create lost: an object of that key is there already."""


class ConditionalWritesUnsupportedError(StoreError):
    """The store refuses conditional creates as such, whatever the key."""


@dataclass(frozen=True)
class ObjectInfo:
    key: str
    size: int
    etag: str
    """Changes whenever the bytes are replaced; says nothing else."""


class ObjectWriter(Protocol):
    """A streaming write. The object appears whole when the block ends without an exception, else not at all.

    Memory stays bounded by a few parts of the upload, whatever is written. Arrow writes into it as into a
    file: `pa.ipc.new_file(writer, schema)`, `pq.ParquetWriter(writer, schema)`; close those inside the block.
    """

    def write(self, data: bytes | memoryview) -> int: ...

    @property
    def key(self) -> str:
        """Of the object. That of a hashed one is known when the block has ended."""

    @property
    def size(self) -> int:
        """Bytes written so far."""

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes written so far."""

    @property
    def closed(self) -> bool:
        """Whether the block has ended (or not begun)."""

    def flush(self) -> None:
        """Does nothing: bytes count when the block ends."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ObjectStore(Protocol):
    """Keys are relative, `/`-separated, without a leading slash, and no key is a folder of another: `a` and
    `a/b` exclude one another. Every call retries what may be retried.

    Errors: `ObjectMissingError`, `ObjectExistsError`, and `StoreError` with the store's url and the mend for
    everything else (unreachable, credentials refused, no such bucket, disk full).
    """

    @property
    def url(self) -> str:
        """Where the store is; never holds a secret."""

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Bytes [start, stop) of an object; to its end if `stop` is None or beyond it."""

    def head(self, key: str) -> ObjectInfo | None:
        """Size and etag, or None if there is no such object."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> ObjectInfo:
        """Write an object whole. With `if_absent`, one of many writers wins, others get ObjectExistsError."""

    def open_write(self, key: str) -> ObjectWriter:
        """Stream an object of unknown size, replacing what is there.

        There is no `if_absent` here: SeaweedFS 4.48 lets several concurrent conditional completions succeed. A
        `put` of a small record decides who wins.
        """

    def open_hashed(self, stem: str, suffix: str) -> ObjectWriter:
        """Stream an object whose key is `{stem}-{first 16 hex digits of its sha256}{suffix}`.

        Writers of the same bytes write the same object, and writers of other bytes never touch it: what a commit
        record names stays what it was, whoever else is at work.
        """

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with `prefix`, in key order. May hold the whole list in memory."""

    def delete(self, key: str) -> None:
        """Remove an object; no error if there is none."""

    def local_path(self, key: str) -> Path | None:
        """Path for memory maps where the store is a local folder, else None."""

    def has_conditional_writes(self) -> bool:
        """Probe once, with a real write under `.probe/`, whether `if_absent` holds."""
