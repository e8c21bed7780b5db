"""Where answers lie, and that no look-up reads more than it must."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest

from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.ledger import ledger as ledgers
from thresher.labeling.ledger import log as logs
from thresher.labeling.ledger import shelf as shelves
from thresher.labeling.ledger.ledger import Ledger, shelf_of
from thresher.labeling.ledger.log import AnswerLog
from thresher.labeling.ledger.rows import row_of
from thresher.labeling.ledger.shelf import MAX_FILES_IN_BUCKET, AnswerShelf
from thresher.storage import ObjectMissingError, ObjectStore, open_store

SHELF = "responses/m/1"
NOW = datetime.now(UTC)


def request(index: int) -> ModelRequest:
    return ModelRequest("explain", "m", "1", {"prompt": str(index)}, 10)


def answer(index: int, received_at: datetime = NOW) -> Answer:
    return Answer({"choices": [{"text": f"answer {index}"}]}, 2, 1, received_at)


def rows(indices: range, run_id: str = "run", received_at: datetime = NOW) -> list[dict]:
    return [row_of(request(index), answer(index, received_at), run_id) for index in indices]


@pytest.fixture
def store(tmp_path) -> ObjectStore:
    return open_store(f"file://{tmp_path}/store")


def found(ledger: Ledger, index: int) -> str | None:
    stored = asyncio.run(ledger.find(request(index)))
    return None if stored is None else stored.answer.choice["text"]


@pytest.fixture(autouse=True)
def every_run_fills_buckets(monkeypatch) -> None:
    monkeypatch.setattr(logs, "MAX_SEALED_BYTES", 1)
    monkeypatch.setattr(shelves, "PREFIX_DIGITS", 1)


def fill(store: ObjectStore, indices: range, run_id: str) -> None:
    log = AnswerLog(store, SHELF, run_id)
    log.write(rows(indices, run_id))
    Ledger(store, SHELF, run_id).seal()


def test_a_store_that_lists_what_it_has_not_is_an_error(store, monkeypatch) -> None:
    fill(store, range(5), "one")
    shelf = AnswerShelf(store, SHELF)
    [listed] = [info.key for info in store.list(f"{SHELF}/buckets/{request(0).sha256[:1]}/")]
    stale = list(store.list(f"{SHELF}/buckets/{request(0).sha256[:1]}/"))
    store.delete(listed)
    monkeypatch.setattr(store, "list", lambda prefix: iter(stale))
    with pytest.raises(ObjectMissingError, match=listed):
        shelf.find(request(0).sha256)


def test_sealed_answers_are_found_by_any_run(store) -> None:
    fill(store, range(500), "one")
    assert list(store.list(f"{SHELF}/log/")) == []
    ledger = Ledger(store, SHELF, "two")
    assert [found(ledger, index) for index in (0, 77, 499)] == ["answer 0", "answer 77", "answer 499"]
    assert found(ledger, 500) is None


def test_a_look_up_lists_one_bucket_and_never_the_shelf(store, monkeypatch) -> None:
    fill(store, range(2000), "one")
    listed, read = list[str](), list[str]()
    list_, local_path = store.list, store.local_path
    monkeypatch.setattr(store, "list", lambda prefix: listed.append(prefix) or list_(prefix))
    monkeypatch.setattr(store, "local_path", lambda key: read.append(key) or local_path(key))
    ledger = Ledger(store, SHELF, "two")
    for index in (3, 4, 5):
        assert found(ledger, index) == f"answer {index}"
    assert listed[0] == f"{SHELF}/log/"
    assert all(
        prefix.startswith(f"{SHELF}/buckets/") and len(prefix) == len(SHELF) + 11 for prefix in listed[1:]
    )
    assert len(listed) <= 4
    assert len(set(read)) <= 3


def test_files_of_a_bucket_are_put_together(store) -> None:
    for number in range(20):
        fill(store, range(number * 300, (number + 1) * 300), f"run-{number}")
    per_bucket = dict[str, int]()
    for info in store.list(f"{SHELF}/buckets/"):
        bucket = info.key.split("/")[4]
        per_bucket[bucket] = per_bucket.get(bucket, 0) + 1
    assert max(per_bucket.values()) <= MAX_FILES_IN_BUCKET
    ledger = Ledger(store, SHELF, "later")
    assert all(found(ledger, index) == f"answer {index}" for index in range(0, 6000, 97))


def test_an_open_ledger_finds_what_was_moved_meanwhile(store) -> None:
    log = AnswerLog(store, SHELF, "one")
    log.write(rows(range(100), "one"))
    early = Ledger(store, SHELF, "two")  # knows them in the log
    Ledger(store, SHELF, "one").seal()
    assert found(early, 5) == "answer 5"
    shelf = AnswerShelf(store, SHELF)
    known = [shelf.find(request(index).sha256) for index in range(100)]
    assert all(known)
    for number in range(MAX_FILES_IN_BUCKET * 2):
        fill(store, range(100, 200), f"again-{number}")
        fill(store, range(200 + number * 400, 600 + number * 400), f"more-{number}")
    assert found(early, 5) == "answer 5"
    assert found(early, 6) == "answer 6"


@pytest.mark.parametrize("sealed_bytes", [1, 64 << 20], ids=["to buckets", "to the files of finished runs"])
def test_another_process_at_the_run_may_end_first(store, monkeypatch, sealed_bytes) -> None:
    monkeypatch.setattr(logs, "MAX_SEALED_BYTES", sealed_bytes)
    AnswerLog(store, SHELF, "one").write(rows(range(50), "one"))
    later = Ledger(store, SHELF, "one")
    asyncio.run(later.append(request(50), answer(50)))
    Ledger(store, SHELF, "one").seal()
    hashes = [request(index).sha256 for index in range(51)]
    stored = [
        row["request_sha256"]
        for entry in later.put_answers("labels/one/responses", hashes)
        for row in _read(store, entry.key)
    ]
    assert sorted(stored) == sorted(hashes)
    assert [found(later, index) for index in (0, 50)] == ["answer 0", "answer 50"]
    assert found(later, 51) is None
    later.seal()
    assert found(Ledger(store, SHELF, "two"), 50) == "answer 50"


def test_answers_are_found_while_others_seal_and_merge(store, monkeypatch) -> None:
    monkeypatch.setattr(logs, "MAX_SEALED_FILES", 2)
    monkeypatch.setattr(logs, "MAX_SEALED_BYTES", 20_000)
    AnswerLog(store, SHELF, "one").write(rows(range(50), "one"))
    reader = Ledger(store, SHELF, "one")
    is_over = threading.Event()

    def tidy() -> None:
        for number in range(12):
            fill(store, range(100 + number * 50, 150 + number * 50), f"run-{number}")
            Ledger(store, SHELF, "one").seal()
        is_over.set()

    thread = threading.Thread(target=tidy)
    thread.start()
    while not is_over.is_set():
        assert [found(reader, index) for index in range(0, 50, 7)] == [
            f"answer {index}" for index in range(0, 50, 7)
        ]
    thread.join()


def test_sealing_twice_or_at_once_changes_nothing(store) -> None:
    log = AnswerLog(store, SHELF, "one")
    log.write(rows(range(300), "one"))
    keys = log.own_parts()
    AnswerShelf(store, SHELF).add(keys)  # killed before the log went
    threads = [threading.Thread(target=Ledger(store, SHELF, "one").seal) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger = Ledger(store, SHELF, "two")
    hashes = [request(index).sha256 for index in range(300)]
    entries = ledger.put_answers("labels/x/responses", hashes)
    stored = [row for entry in entries for row in _read(store, entry.key)]
    assert sorted(row["request_sha256"] for row in stored) == sorted(hashes)


def _read(store: ObjectStore, key: str) -> list[dict]:
    import pyarrow.parquet as pq

    return pq.read_table(store.local_path(key)).to_pylist()


def test_many_small_files_of_a_run_become_few(store, monkeypatch) -> None:
    monkeypatch.setattr(logs, "ROLL_AFTER_PARTS", 8)
    log = AnswerLog(store, SHELF, "one")
    for index in range(100):
        log.write(rows(range(index, index + 1), "one"))
    assert len(log.own_parts()) <= 100 / 8 + 8
    again = AnswerLog(store, SHELF, "one")
    assert len(again.paid) == 100
    ledger = Ledger(store, SHELF, "one")
    assert ledger.paid().num_tokens == 300
    assert [found(ledger, index) for index in (0, 50, 99)] == ["answer 0", "answer 50", "answer 99"]


def test_a_kill_while_rolling_doubles_nothing(store, monkeypatch) -> None:
    monkeypatch.setattr(logs, "ROLL_AFTER_PARTS", 4)
    monkeypatch.setattr(store, "delete", lambda key: None)  # killed before the small ones went
    log = AnswerLog(store, SHELF, "one")
    for index in range(10):
        log.write(rows(range(index, index + 1), "one"))
    assert Ledger(store, SHELF, "one").paid().num_tokens == 30
    assert len(log.own_parts()) == 12


def test_without_a_revision_old_answers_of_other_runs_are_asked_for_again(store) -> None:
    old = NOW - ledgers.MAX_AGE_UNSTATED - timedelta(minutes=1)
    AnswerLog(store, SHELF, "other").write(rows(range(1), "other", old))
    AnswerLog(store, SHELF, "other").write(rows(range(1, 2), "other", NOW))
    AnswerLog(store, SHELF, "own").write(rows(range(2, 3), "own", old))
    dated = Ledger(store, SHELF, "own", is_dated=True)
    assert [found(dated, index) for index in range(3)] == [None, "answer 1", "answer 2"]
    stated = Ledger(store, SHELF, "own")
    assert found(stated, 0) == "answer 0"


def test_an_answer_that_was_asked_for_again_replaces_the_old_one(store) -> None:
    old = NOW - ledgers.MAX_AGE_UNSTATED - timedelta(minutes=1)
    for run_id, when in (("one", old), ("two", NOW)):
        AnswerLog(store, SHELF, run_id).write(rows(range(1), run_id, when))
        Ledger(store, SHELF, run_id).seal()
    assert found(Ledger(store, SHELF, "three", is_dated=True), 0) == "answer 0"


def test_shelves_are_kept_apart_by_model_revision_and_what_is_loaded() -> None:
    shelves = {
        shelf_of("a/b", "1", None),
        shelf_of("a/b", "2", None),
        shelf_of("a_b", "1", None),
        shelf_of("a/b", "unstated", "/models/x"),
        shelf_of("a/b", "unstated", "/models/y"),
    }
    assert len(shelves) == 5
    assert shelf_of("a/b", "1", "/models/x") == shelf_of("a/b", "1", "/models/y"), (
        "a stated revision says it all"
    )


def test_small_runs_share_few_files_until_they_are_dealt_to_buckets(store, monkeypatch) -> None:
    monkeypatch.setattr(logs, "MAX_SEALED_BYTES", 64 << 20)
    monkeypatch.setattr(logs, "MAX_SEALED_FILES", 4)
    seen = []
    for number in range(12):
        fill(store, range(number * 10, (number + 1) * 10), f"run-{number}")
        seen.append(len(list(store.list(f"{SHELF}/log/"))))
    assert seen[:5] == [1, 2, 3, 4, 0]
    assert max(seen) == 4
    ledger = Ledger(store, SHELF, "later")
    assert [found(ledger, index) for index in range(120)] == [f"answer {index}" for index in range(120)]
    assert ledger.paid().num_tokens == 0, "others paid"
