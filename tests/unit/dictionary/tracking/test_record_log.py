"""Parts, checkpoints and what a resumed run makes of them."""

import json

import pytest

from thresher.dictionary.tracking.record_log import RecordLog
from thresher.dictionary.tracking.records import StepTiming
from thresher.storage import ObjectStore


def record(step: int) -> StepTiming:
    return StepTiming(step=step, rows_per_s=1.5 * step, data_wait_share=0.25)


@pytest.fixture
def log(store: ObjectStore) -> RecordLog:
    return RecordLog(store, "dictionaries/d/1", "timing")


def steps(log: RecordLog) -> list[int]:
    return [json.loads(line)["step"] for line in log.joined().splitlines()]


def write(log: RecordLog, *steps: int) -> None:
    for step in steps:
        log.append(record(step))
    log.write_part()


def test_parts_are_joined_in_order_of_their_steps(log: RecordLog, store: ObjectStore) -> None:
    write(log, 20, 40)
    write(log)
    write(log, 900, 1000)
    write(log, 10000)
    assert steps(log) == [20, 40, 900, 1000, 10000]
    assert [StepTiming.model_validate_json(line) for line in log.joined().splitlines()][1] == record(40)
    keys = sorted(info.key.split("/")[-1] for info in store.list("dictionaries/d/1/"))
    assert keys == ["timing-000000020.jsonl", "timing-000000900.jsonl", "timing-000010000.jsonl"]


def test_a_record_that_is_in_no_part_is_not_there(log: RecordLog) -> None:
    log.append(record(20))
    assert log.joined() == b""


@pytest.mark.parametrize(
    ("checkpoint", "left"), [(0, []), (40, [20, 40]), (60, [20, 40, 60]), (99, [20, 40, 60])]
)
def test_a_resumed_run_neither_loses_nor_doubles(log: RecordLog, checkpoint: int, left: list[int]) -> None:
    write(log, 20, 40)
    write(log, 60)
    log.append(record(80))
    log.discard_after(checkpoint)
    assert steps(log) == left
    rest = [step for step in (20, 40, 60, 80, 100) if step not in left]
    for step in rest:  # another cadence of checkpoints than before
        write(log, step)
    assert steps(log) == [20, 40, 60, 80, 100]


def test_only_the_parts_are_removed(log: RecordLog, store: ObjectStore) -> None:
    write(log, 20)
    other = RecordLog(store, "dictionaries/d/1", "metrics")
    write(other, 20)
    store.put(log.key, log.joined())
    log.remove_parts()
    assert {info.key.split("/")[-1] for info in store.list("dictionaries/d/1/")} == {
        "timing.jsonl",
        "metrics-000000020.jsonl",
    }
