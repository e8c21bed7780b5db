"""Where the rows of an Arrow IPC file lie in it, found by reading its footer and headers alone.

pyarrow reads a record batch whole. A row of fixed width lies at a place that the headers say, so that a ranged read
can fetch just the rows that are needed. The format: "Arrow Columnar Format", section IPC File Format, and the
flatbuffers of File.fbs and Message.fbs.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from thresher.contracts.errors import IntegrityError

MAGIC = b"ARROW1"
TAIL_BYTES = 64 << 10
BLOCK = struct.Struct("<qi4xq")  # offset, metaDataLength, bodyLength
BUFFER = struct.Struct("<qq")  # offset, length
X_BUFFER, SCALE_BUFFER = 2, 5
"""Of a record batch's buffers: a fixed-size list has a validity, its values another, then come the values."""

Read = Callable[[int, int], bytes]
"""Bytes [start, stop) of the file."""


@dataclass(frozen=True)
class BatchLayout:
    """One record batch."""

    num_rows: int
    x_offset: int
    """Of the first row's values within the file."""
    scale_offset: int | None
    """Of the first row's scales; int8 alone has them."""


def read_schema(read: Read) -> pa.Schema:
    """The schema, with its metadata."""
    head = read(len(MAGIC) + 2, len(MAGIC) + 10)
    (length,) = struct.unpack_from("<i", head, 4)
    start = len(MAGIC) + 2
    return pa.ipc.read_schema(pa.py_buffer(read(start, start + 8 + length)))


def read_layout(read: Read, size: int, where: str) -> list[BatchLayout]:
    """The record batches of a file of dense rows, in order.

    Raises:
        IntegrityError: it is no such file; `where` names it.
    """
    try:
        return [_batch_layout(read, *block) for block in _blocks(read, size)]
    except (struct.error, IndexError, ValueError) as error:
        raise IntegrityError(f"{where} is not a readable Arrow file ({error}): harvest it again.") from error


def _blocks(read: Read, size: int) -> list[tuple[int, int, int]]:
    tail = read(max(0, size - TAIL_BYTES), size)
    if tail[-len(MAGIC) :] != MAGIC:
        raise ValueError("it has no footer")
    (length,) = struct.unpack_from("<i", tail, len(tail) - len(MAGIC) - 4)
    stop = len(tail) - len(MAGIC) - 4
    if not 0 < length <= size:
        raise ValueError("its footer has no length")
    footer = tail[stop - length : stop] if length <= stop else read(size - 10 - length, size - 10)
    table = _Table(footer, struct.unpack_from("<I", footer)[0])
    return [BLOCK.unpack_from(footer, at) for at in table.vector(3, BLOCK.size)]


def _batch_layout(read: Read, offset: int, metadata_length: int, body_length: int) -> BatchLayout:
    data = read(offset, offset + metadata_length)[8:]  # after the continuation mark and the length
    message = _Table(data, struct.unpack_from("<I", data)[0])
    batch = message.table(2)
    buffers = [BUFFER.unpack_from(data, at) for at in batch.vector(2, BUFFER.size)]
    body = offset + metadata_length
    scale = body + buffers[SCALE_BUFFER][0] if len(buffers) > SCALE_BUFFER else None
    if any(start + length > body_length for start, length in buffers):
        raise ValueError("a record batch ends before its rows do")
    return BatchLayout(batch.long(0), body + buffers[X_BUFFER][0], scale)


class _Table:
    """A table of a flatbuffer."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data, self._position = data, position
        self._vtable = position - self._read("<i", position)

    def long(self, field: int) -> int:
        place = self._place(field)
        return 0 if place is None else self._read("<q", place)

    def table(self, field: int) -> "_Table":
        place = self._required(field)
        return _Table(self._data, place + self._read("<I", place))

    def vector(self, field: int, item_size: int) -> list[int]:
        """Positions of the items, which lie in the vector itself."""
        place = self._place(field)
        if place is None:
            return []
        start = place + self._read("<I", place)
        count = self._read("<I", start)
        if start + 4 + count * item_size > len(self._data):
            raise ValueError("a list ends before its items do")
        return [start + 4 + index * item_size for index in range(count)]

    def _required(self, field: int) -> int:
        place = self._place(field)
        if place is None:
            raise ValueError("a header lacks a field")
        return place

    def _place(self, field: int) -> int | None:
        at = 4 + 2 * field
        if at >= self._read("<H", self._vtable):
            return None
        offset = self._read("<H", self._vtable + at)
        return self._position + offset if offset else None

    def _read(self, kind: str, at: int) -> Any:
        if at < 0:
            raise ValueError("a header points outside itself")
        return struct.unpack_from(kind, self._data, at)[0]
