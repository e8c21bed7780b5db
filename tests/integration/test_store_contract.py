"""What every object store promises, asked of a folder and of a real S3 server."""

import hashlib
import os
import pickle
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import FileEntry
from thresher.storage import ObjectExistsError, ObjectMissingError, ObjectStore, open_store
from thresher.storage.read_file import download, open_input

MIB = 1 << 20
NUM_WRITERS = 8


def keys(store: ObjectStore, prefix: str = "") -> list[str]:
    return [info.key for info in store.list(prefix)]


def write_and_fail(store: ObjectStore, key: str, size: int) -> None:
    with store.open_write(key) as writer:
        writer.write(bytes(size))
        raise KeyError


def test_put_then_get_and_head(store: ObjectStore) -> None:
    info = store.put("a/b.bin", b"hello")

    assert store.get("a/b.bin") == b"hello"
    assert store.head("a/b.bin") == info
    assert (info.key, info.size) == ("a/b.bin", 5)


def test_put_replaces_and_changes_the_etag(store: ObjectStore) -> None:
    first = store.put("a", b"one")
    second = store.put("a", b"two")

    assert store.get("a") == b"two"
    assert first.etag != second.etag


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 5, b"34"),
        (0, 1, b"0"),
        (8, 100, b"89"),
        (5, 5, b""),
        (10, None, b""),
        (50, 60, b""),
    ],
)
def test_ranged_get_is_clipped_to_the_object(
    store: ObjectStore, start: int, stop: int | None, expected: bytes
) -> None:
    store.put("digits", b"0123456789")

    assert store.get("digits", start, stop) == expected


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    store.put("empty", b"")
    with store.open_write("streamed"):
        pass

    assert store.get("empty") == store.get("streamed", 0, 10) == b""
    assert [info.size for info in store.list("")] == [0, 0]


def test_what_is_missing_is_named(store: ObjectStore) -> None:
    assert store.head("none") is None
    for start, stop in ((0, None), (2, 4), (0, 0)):
        with pytest.raises(ObjectMissingError, match=f"{store.url}/none does not exist"):
            store.get("none", start, stop)
    store.delete("none")
    assert keys(store, "none") == []


def test_a_folder_is_no_object(store: ObjectStore) -> None:
    store.put("folder/key", b"x")

    assert store.head("folder") is None
    with pytest.raises(ObjectMissingError):
        store.get("folder")


def test_delete_makes_room(store: ObjectStore) -> None:
    store.put("a", b"one", if_absent=True)
    store.delete("a")

    assert store.head("a") is None
    store.put("a", b"two", if_absent=True)
    assert store.get("a") == b"two"


def test_the_second_conditional_write_loses(store: ObjectStore) -> None:
    store.put("a", b"first", if_absent=True)

    with pytest.raises(ObjectExistsError, match=f"{store.url}/a exists already"):
        store.put("a", b"second", if_absent=True)
    assert store.get("a") == b"first"


@pytest.mark.parametrize("size", [1, MIB])
def test_of_many_conditional_writers_one_wins(store: ObjectStore, size: int) -> None:
    together = threading.Barrier(NUM_WRITERS)

    def attempt(number: int) -> bool:
        together.wait()
        try:
            store.put("race/key", bytes([number]) * size, if_absent=True)
        except ObjectExistsError:
            return False
        return True

    with ThreadPoolExecutor(NUM_WRITERS) as pool:
        won = [number for number, success in enumerate(pool.map(attempt, range(NUM_WRITERS))) if success]

    assert len(won) == 1
    assert set(store.get("race/key")) == set(won)


def test_conditional_writes_are_probed_without_a_trace(store: ObjectStore) -> None:
    assert store.has_conditional_writes()
    assert keys(store) == []


def test_a_stream_of_many_parts_is_one_object(store: ObjectStore) -> None:
    chunk, rest = os.urandom(3 * MIB + 17), os.urandom(5)
    with store.open_write("big") as writer:
        for _ in range(7):
            assert writer.write(memoryview(chunk)) == len(chunk)
        writer.write(rest)
        assert keys(store) == []

    data = chunk * 7 + rest
    assert store.get("big") == data
    assert (writer.size, writer.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert store.get("big", 8 * MIB - 3, 8 * MIB + 3) == data[8 * MIB - 3 : 8 * MIB + 3]
    assert writer.closed


@pytest.mark.parametrize("size", [1, 8 * MIB, 20 * MIB, 40 * MIB])
def test_a_stream_that_fails_leaves_nothing(store: ObjectStore, size: int) -> None:
    with pytest.raises(KeyError):
        write_and_fail(store, "key", size)

    assert keys(store) == []
    store.put("key", b"x", if_absent=True)


def test_a_failed_stream_keeps_what_was_there(store: ObjectStore) -> None:
    store.put("key", b"old")

    with pytest.raises(KeyError):
        write_and_fail(store, "key", 40 * MIB)
    assert store.get("key") == b"old"


def test_a_stream_of_any_size_holds_a_few_parts(store: ObjectStore) -> None:
    chunk = memoryview(os.urandom(MIB))
    tracemalloc.start()
    try:
        with store.open_write("big") as writer:
            for _ in range(160):
                writer.write(chunk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 48 * MIB
    info = store.head("big")
    assert info is not None
    assert info.size == 160 * MIB


KILLED_WRITER = """
import sys, time
from thresher.storage import open_store
with open_store(sys.argv[1]).open_write("key") as writer:
    for _ in range(20):
        writer.write(bytes(1 << 20))
    print("written", flush=True)
    time.sleep(600)
"""


def test_a_killed_writer_leaves_nothing_visible(store: ObjectStore) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_WRITER, store.url], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        writer.kill()

    assert keys(store) == []
    assert store.head("key") is None
    store.put("key", b"x", if_absent=True)


def test_keys_come_in_order_and_by_prefix(store: ObjectStore) -> None:
    names = ["a0", "a/c/d", "b", "a.b", "a/b", "a/c.d", "a-b", "Z", "é"]
    for name in names:
        store.put(name, b"x")

    assert keys(store) == sorted(names)
    assert keys(store, "a/") == ["a/b", "a/c.d", "a/c/d"]
    assert keys(store, "a/c") == ["a/c.d", "a/c/d"]
    assert keys(store, "a") == ["a-b", "a.b", "a/b", "a/c.d", "a/c/d", "a0"]
    assert keys(store, "c/") == []


def test_a_list_of_more_than_a_page_is_whole(store: ObjectStore) -> None:
    names = [f"shards/part-{number:05d}" for number in range(1050)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, b"x"), names))

    assert keys(store, "shards/") == names


def test_a_copy_in_another_process_reads_the_same(store: ObjectStore) -> None:
    store.put("key", b"x")
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).get('key'))"

    answer = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(store), stdout=subprocess.PIPE, check=True
    )
    assert answer.stdout == b"b'x'\n"


def test_a_forked_child_and_its_parent_both_read(store: ObjectStore) -> None:
    store.put("key", b"x")
    child = os.fork()
    if child == 0:
        os._exit(0 if store.get("key") == b"x" else 1)

    assert store.get("key") == b"x"
    assert os.waitpid(child, 0)[1] == 0


def test_the_url_opens_the_same_store(store: ObjectStore) -> None:
    store.put("key", b"x")

    assert open_store(store.url).get("key") == b"x"
    assert open_store(store.url).url == store.url


def test_arrow_writes_into_a_stream_and_reads_it_back(store: ObjectStore) -> None:
    table = pa.table({"x": pa.array(range(1_500_000), pa.int64())})
    with store.open_write("t.parquet") as sink, pq.ParquetWriter(sink, table.schema) as parquet:
        parquet.write_table(table, row_group_size=300_000)
    with store.open_write("t.arrow") as sink, pa.ipc.new_file(sink, table.schema) as ipc:
        ipc.write_table(table, max_chunksize=300_000)

    with open_input(store, "t.parquet") as source:
        assert pq.ParquetFile(source).read_row_group(3).equals(table.slice(900_000, 300_000))
    with open_input(store, "t.arrow") as source:
        assert pa.ipc.open_file(source).get_batch(4)["x"].equals(table["x"].slice(1_200_000).chunk(0))
    with pytest.raises(ObjectMissingError, match="none"):
        open_input(store, "none")


def test_a_download_appears_only_if_it_is_what_was_promised(store: ObjectStore, tmp_path: Path) -> None:
    data = os.urandom(9 * MIB)
    store.put("big", data)
    entry = FileEntry(key="big", size=len(data), sha256=hashlib.sha256(data).hexdigest())
    folder = tmp_path / "pulled"

    for wrong in (entry.model_copy(update={"size": 5}), entry.model_copy(update={"sha256": "0" * 64})):
        with pytest.raises(IntegrityError, match="big is damaged"):
            download(store, wrong, folder / "copy")
        assert list(folder.iterdir()) == []
    download(store, entry, folder / "copy")
    assert (folder / "copy").read_bytes() == data
    assert [path.name for path in folder.iterdir()] == ["copy"]
