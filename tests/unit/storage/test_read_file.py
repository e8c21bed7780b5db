"""Objects as seekable files."""

import io
import random
from pathlib import Path

import pytest

from thresher.contracts.errors import IntegrityError
from thresher.storage.file import FileStore
from thresher.storage.read_file import ObjectReader

DATA = random.Random(0).randbytes(10_000)


class CountingStore(FileStore):
    """Remembers the ranges it was asked for."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.ranges: list[tuple[int, int | None]] = []

    def get(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        self.ranges.append((start, stop))
        return super().get(key, start, stop)


@pytest.fixture
def counting_store(tmp_path: Path) -> CountingStore:
    store = CountingStore(str(tmp_path))
    store.put("key", DATA)
    return store


def test_it_reads_as_the_bytes_themselves_would(counting_store: CountingStore) -> None:
    reader, expected = ObjectReader(counting_store, "key", read_ahead=777), io.BytesIO(DATA)
    choose = random.Random(1)
    for _ in range(500):
        offset, whence = choose.choice([(choose.randrange(11_000), 0), (-choose.randrange(9_000), 2), (5, 1)])
        assert reader.seek(offset, whence) == expected.seek(offset, whence)
        size = choose.choice([0, 1, 100, 5_000, -1])
        assert reader.read(size) == expected.read(size)
        assert reader.tell() == expected.tell()


def test_small_reads_in_order_share_a_request(counting_store: CountingStore) -> None:
    reader = ObjectReader(counting_store, "key", read_ahead=4_000)

    assert b"".join(reader.read(100) for _ in range(100)) == DATA
    assert counting_store.ranges == [(0, 4_000), (4_000, 8_000), (8_000, 10_000)]


def test_a_large_read_is_one_request(counting_store: CountingStore) -> None:
    assert ObjectReader(counting_store, "key", read_ahead=10).read() == DATA
    assert counting_store.ranges == [(0, 10_000)]


def test_readinto_fills_a_buffer(counting_store: CountingStore) -> None:
    reader, buffer = ObjectReader(counting_store, "key"), bytearray(6_000)

    assert [reader.readinto(buffer), reader.readinto(buffer), reader.readinto(buffer)] == [6_000, 4_000, 0]
    assert buffer[:4_000] == DATA[6_000:]


def test_an_object_that_shrinks_under_the_reader_is_an_error(counting_store: CountingStore) -> None:
    reader = ObjectReader(counting_store, "key")
    counting_store.put("key", DATA[:50])

    with pytest.raises(IntegrityError, match="shrank"):
        reader.read(100)
