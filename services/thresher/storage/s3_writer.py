"""A streaming write to S3: parts go up while the next is filled; the object appears on completion."""

import hashlib
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Self

from thresher.contracts.errors import StoreError
from thresher.storage.s3_upload import S3Upload

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 8 << 20
MAX_SINGLE_PUT_BYTES = 20 << 20
"""Up to here a put of the whole, under its true name; beyond, parts, and for hashed names a copy by the store."""
MAX_PARTS = 10_000  # S3's limit
MAX_PARTS_IN_FLIGHT = 2
logger = logging.getLogger(__name__)


class S3Writer:
    """The `ObjectWriter` of a bucket. Holds less than 48 MiB in memory, whatever the object's size.

    What is no larger than `MAX_SINGLE_PUT_BYTES` goes up as a single put. A killed writer leaves an invisible
    unfinished upload: give the bucket a lifecycle rule that ends those.

    With `named`, which gives the upload of the object's true name by the hash of its bytes, parts go up under a
    passing name and the store copies the whole.
    """

    def __init__(self, upload: S3Upload, named: Callable[[str], S3Upload] | None = None) -> None:
        self._upload, self._named = upload, named
        self._upload_id: str | None = None
        self._digest, self._size, self._open = hashlib.sha256(), 0, False
        self._waiting: deque[bytearray] = deque()  # parts not sent yet, all but the last one full
        self._pool = ThreadPoolExecutor(MAX_PARTS_IN_FLIGHT, thread_name_prefix="s3-part")
        self._in_flight: deque[Future[CompletedPartTypeDef]] = deque()
        self._done: list[CompletedPartTypeDef] = []

    @property
    def key(self) -> str:
        return self._final().key

    @property
    def size(self) -> int:
        return self._size

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    @property
    def closed(self) -> bool:
        return not self._open

    def __enter__(self) -> Self:
        self._open = True
        return self

    def write(self, data: bytes | memoryview) -> int:
        assert self._open, "write inside the with block"
        view = memoryview(data).cast("B")
        self._digest.update(view)
        self._size += view.nbytes
        start = 0
        while start < view.nbytes:
            start += self._fill(view[start:])
            self._send_full()
        return view.nbytes

    def flush(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if kind is not None:
            self._abort()
            return
        try:
            self._finish()
        except BaseException:
            self._abort()
            raise

    def _fill(self, view: memoryview) -> int:
        """Put what has room into the last part; returns how many bytes that was."""
        if not self._waiting or len(self._waiting[-1]) == PART_BYTES:
            self._waiting.append(bytearray())
        count = min(view.nbytes, PART_BYTES - len(self._waiting[-1]))
        self._waiting[-1] += view[:count]
        return count

    def _send_full(self) -> None:
        if self._upload_id is None and sum(map(len, self._waiting)) <= MAX_SINGLE_PUT_BYTES:
            return
        while len(self._waiting) > 1:
            self._send()

    def _send(self) -> None:
        if self._upload_id is None:
            self._upload_id = self._upload.start()
        while len(self._in_flight) >= MAX_PARTS_IN_FLIGHT:
            self._collect()
        number = len(self._done) + len(self._in_flight) + 1
        if number > MAX_PARTS:
            raise StoreError(
                f"{self._upload.url} exceeds {MAX_PARTS * PART_BYTES:,} bytes: write smaller shards."
            )
        part = bytes(self._waiting.popleft())
        self._in_flight.append(self._pool.submit(self._upload.upload_part, self._upload_id, number, part))

    def _collect(self) -> None:
        self._done.append(self._in_flight.popleft().result())

    def _finish(self) -> None:
        if self._upload_id is None:
            self._final().put(b"".join(self._waiting))
        else:
            self._send()
            while self._in_flight:
                self._collect()
            self._upload.complete(self._upload_id, self._done)
            if self._named is not None:
                self._final().copy_from(self._upload)
                self._upload.delete()
        self._pool.shutdown()

    def _final(self) -> S3Upload:
        return self._upload if self._named is None else self._named(self.sha256)

    def _abort(self) -> None:
        """Give the upload up; that this fails too must not hide the first failure."""
        self._pool.shutdown(cancel_futures=True)
        if self._upload_id is None:
            return
        try:
            self._upload.abort(self._upload_id)
        except StoreError as error:
            logger.warning("An unfinished upload is left in the bucket: %s", error)
