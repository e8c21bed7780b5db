"""A night that is killed, or stopped and overtaken: the next process goes on with it, and one alone commits."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from fixtures.exemplars import NAME, VERSION, write_features
from fixtures.label_runs import read_rows
from fixtures.nights import RememberingCommitter
from thresher.contracts import paths
from thresher.contracts.manifests import LabelManifest, NightlyManifest
from thresher.labeling.nightly.run import nightly
from thresher.labeling.nightly.spec import NightlySpec
from thresher.storage import ObjectStore
from thresher.storage.artifacts import read_record

ALL = "THRESHER_FAULT_SEEDS" in os.environ
"""As with `make faults`."""
MOMENTS = (1, 30, 90) if ALL else (30,)
"""Requests after which a night is killed."""
STORES = ("file", "s3") if ALL else ("s3",)
pytestmark = [pytest.mark.fault, pytest.mark.parametrize("store", STORES, indirect=True)]

TIMEOUT_S = 120
PROGRAM = """
import sys
from fixtures.nights import RememberingCommitter
from thresher.contracts.errors import ThresherError
from thresher.labeling.nightly.run import nightly
from thresher.labeling.nightly.spec import NightlySpec
try:
    print(nightly(NightlySpec.model_validate_json(sys.argv[1]), RememberingCommitter()).night_id)
except ThresherError as error:
    print(type(error).__name__)
    sys.exit(3)
"""


@pytest.fixture
def spec(store: ObjectStore, nightly_spec) -> NightlySpec:
    """A night of two batches over the store."""
    write_features(store)
    return nightly_spec(root=store.url, batch_size=2, lease_s=1.0, label={"endpoint": {"concurrency": 2}})


def start(spec: NightlySpec) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path])}
    command = [sys.executable, "-c", PROGRAM, spec.model_dump_json()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, "it ended before it could be disturbed"
        assert time.monotonic() < until_s
        time.sleep(0.02)


def keys(store: ObjectStore, prefix: str, suffix: str) -> list[str]:
    return [info.key for info in store.list(prefix) if info.key.endswith(suffix)]


def check_whole(
    store: ObjectStore, night: NightlyManifest, scripted_llm, *, num_asked_twice: int = 0
) -> None:
    """One night, one report, one event; each feature labelled once; nothing paid for twice but what was in flight."""
    assert keys(store, "nightlies/", "/manifest.json") == [paths.manifest(paths.nightly(night.night_id))]
    assert len(keys(store, "events/", ".json")) == 1
    assert night.states == {"ok": 4}
    runs = [
        read_record(store, key, LabelManifest)
        for key in keys(store, paths.label_run(NAME, VERSION, ""), "/manifest.json")
    ]
    assert {run.run_id for run in runs} == {batch.run_id for batch in night.batches}
    features = [row["feature"] for run in runs for row in read_rows(store, run.labels)]
    assert sorted(features) == [3, 5, 8, 9]
    bodies = [json.dumps(body, sort_keys=True) for body in scripted_llm.requests if is_paid(body)]
    assert len(bodies) - len(set(bodies)) <= num_asked_twice


def is_paid(body) -> bool:
    """Not a probe of what the endpoint can do."""
    return "messages" in body or len(body["prompt"]) > 20


@pytest.mark.parametrize("num_requests", MOMENTS)
def test_killed_at_any_moment_it_is_finished_by_the_next(
    store: ObjectStore, spec: NightlySpec, scripted_llm, num_requests
) -> None:
    scripted_llm.delay_s = 0.02
    process = start(spec)
    wait_for(lambda: len(scripted_llm.requests) >= num_requests, process)
    process.kill()
    process.wait()
    scripted_llm.delay_s = 0
    committer = RememberingCommitter()
    night = nightly(spec, committer)
    assert night.epochs == [1, 2]
    assert [batch.outcome for batch in night.batches] == ["published", "published"]
    check_whole(store, night, scripted_llm, num_asked_twice=20)  # an answer is committed within 0.2 s
    assert set(committer.runs) == {batch.run_id for batch in night.batches}
    assert committer.nights == [night.night_id]


def test_a_stopped_night_is_taken_over_and_wakes_to_nothing(
    store: ObjectStore, spec: NightlySpec, scripted_llm
) -> None:
    scripted_llm.delay_s = 0.02
    process = start(spec)
    wait_for(lambda: len(scripted_llm.requests) >= 30, process)
    os.kill(process.pid, signal.SIGSTOP)
    scripted_llm.delay_s = 0
    night = nightly(spec, RememberingCommitter())
    before = {info.key: info.etag for info in store.list("") if is_committed(info.key)}
    num_requests = len(scripted_llm.requests)
    os.kill(process.pid, signal.SIGCONT)
    said, _ = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, said.strip()) == (3, "FenceLostError")
    assert {info.key: info.etag for info in store.list("") if is_committed(info.key)} == before
    assert len(scripted_llm.requests) - num_requests <= 20, "it noticed before it spent much"
    check_whole(store, night, scripted_llm, num_asked_twice=40)
    assert nightly(spec, RememberingCommitter()).batches == []


def is_committed(key: str) -> bool:
    """What a reader believes; answers and heartbeats may still come in."""
    return key.endswith("/manifest.json") or key.startswith(("events/", "fences/nightly/log/"))


def test_two_nights_at_once_are_one(store: ObjectStore, spec: NightlySpec, scripted_llm) -> None:
    scripted_llm.delay_s = 0.01
    processes = [start(spec) for _ in range(3)]
    said = [process.communicate(timeout=TIMEOUT_S)[0].strip() for process in processes]
    codes = [process.returncode for process in processes]
    assert codes.count(0) >= 1
    assert {said[index] for index, code in enumerate(codes) if code} <= {"FenceHeldError"}
    nights = [read_record(store, key, NightlyManifest) for key in keys(store, "nightlies/", "/manifest.json")]
    assert [night.states for night in nights if night.batches] == [{"ok": 4}]
