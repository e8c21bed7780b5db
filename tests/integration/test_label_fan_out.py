"""A run over real Ray actors is that of one process, row for row: undisturbed, and with workers and driver killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.exemplars import write_features
from fixtures.label_runs import read_rows
from fixtures.scripted_subject import publish_rules
from thresher.contracts import paths
from thresher.contracts.manifests import LabelManifest
from thresher.labeling.run import label
from thresher.storage import ObjectStore, open_store

pytestmark = pytest.mark.real

TIMEOUT_S = 180
PROGRAM = (
    "import sys; from thresher.labeling.run import label; from thresher.labeling.spec import LabelSpec; "
    "label(LabelSpec.model_validate_json(sys.argv[1]))"
)


def tables(store: ObjectStore, manifest: LabelManifest) -> list[dict]:
    rows = read_rows(store, [*manifest.labels, *manifest.scores])
    return [{name: value for name, value in row.items() if name != "created_at"} for row in rows]


@pytest.fixture
def alone(tmp_path, label_spec) -> tuple[ObjectStore, LabelManifest]:
    """The run of one process, in a store of its own."""
    store = open_store(f"file://{tmp_path}/alone")
    write_features(store)
    return store, label(label_spec(root=store.url))


def check_same(alone: tuple[ObjectStore, LabelManifest], store: ObjectStore, manifest: LabelManifest) -> None:
    assert manifest.run_id == alone[1].run_id
    assert tables(store, manifest) == tables(*alone)
    assert manifest.mean_scores == alone[1].mean_scores
    assert manifest.num_calls == alone[1].num_calls


def num_asked_twice(scripted_llm) -> int:
    bodies = [json.dumps(body, sort_keys=True) for body in scripted_llm.requests if is_paid(body)]
    return len(bodies) - len(set(bodies))


def is_paid(body) -> bool:
    """Not a probe of what the endpoint can do."""
    return "messages" in body or len(body["prompt"]) > 20


def workers() -> list[int]:
    """Process ids of this user's label workers."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            command = (folder / "cmdline").read_bytes() if folder.name.isdigit() else b""
        except OSError:
            continue
        if command.startswith(b"ray::LabelWorker"):
            found.append(int(folder.name))
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def test_workers_make_the_same_rows(planted_store, alone, label_spec, scripted_llm, local_ray) -> None:
    scripted_llm.requests.clear()
    check_same(alone, planted_store, label(label_spec(workers=2)))
    assert num_asked_twice(scripted_llm) == 0
    num_requests = len(scripted_llm.requests)
    label(label_spec())
    assert len(scripted_llm.requests) == num_requests, "the number of workers makes no other run"


def test_workers_run_the_subject(
    planted_store, tmp_path, label_spec, scripted_llm, scripted_subject, local_ray
) -> None:
    alone = open_store(f"file://{tmp_path}/alone")
    write_features(alone)
    own = {"model": str(scripted_subject)}
    sections = {
        "generation": {**own, "num_requests": 2, "texts_per_request": 2},
        "steering": {**own, "num_prompts": 2, "max_tokens": 3},
        "simulation": None,
    }
    for store in (alone, planted_store):
        publish_rules(store, scripted_subject)
    made = label(label_spec(root=alone.url, **sections))
    scripted_llm.requests.clear()
    check_same((alone, made), planted_store, label(label_spec(workers=2, **sections)))
    chats = [body for body in scripted_llm.requests if "messages" in body]
    written = [str(body) for body in chats if "logprobs" not in body]
    assert len(written) == len(set(written)), "labels and texts are written once"


@pytest.mark.fault
@pytest.mark.parametrize("num_requests", [2, 60])
def test_a_killed_worker_is_replaced(
    planted_store, alone, label_spec, scripted_llm, local_ray, num_requests
) -> None:
    scripted_llm.requests.clear()
    scripted_llm.delay_s = 0.03
    killed: list[int] = []

    def kill() -> None:
        wait_for(lambda: len(scripted_llm.requests) >= num_requests and len(workers()) > 0)
        killed.append(workers()[0])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    manifest = label(label_spec(workers=2, endpoint={"concurrency": 4}))
    killer.join()
    assert len(killed) == 1
    check_same(alone, planted_store, manifest)
    assert num_asked_twice(scripted_llm) <= 30, "only what was in flight or not yet committed"


@pytest.mark.fault
def test_a_killed_driver_is_gone_on_with(planted_store, alone, label_spec, scripted_llm, local_ray) -> None:
    spec = label_spec(workers=2, endpoint={"concurrency": 4})
    scripted_llm.requests.clear()
    scripted_llm.delay_s = 0.03
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    driver = subprocess.Popen([sys.executable, "-c", PROGRAM, spec.model_dump_json()], env=environment)
    wait_for(lambda: len(scripted_llm.requests) >= 60)
    driver.kill()
    driver.wait()
    time.sleep(3)  # its workers end with it
    key = paths.manifest(paths.label_run("planted", "1", alone[1].run_id))
    assert planted_store.head(key) is None
    manifest = label(spec)
    check_same(alone, planted_store, manifest)
    assert num_asked_twice(scripted_llm) <= 30


def test_the_budget_holds_over_all_workers(planted_store, alone, label_spec, scripted_llm, local_ray) -> None:
    limit = (alone[1].num_prompt_tokens + alone[1].num_completion_tokens) // 2
    manifest = label(label_spec(workers=2, budget={"max_tokens": limit}))
    assert 0 < manifest.num_prompt_tokens + manifest.num_completion_tokens <= limit
    states = [row["state"] for row in read_rows(planted_store, manifest.scores)]
    assert "over_budget" in states


def test_an_endpoint_that_dies_is_said_so(planted_store, label_spec, scripted_llm, local_ray) -> None:
    scripted_llm.die_after = 20
    with pytest.raises(Exception, match=r"reached|fail"):
        label(label_spec(workers=2, endpoint={"max_retries": 0}))
    assert workers() == [] or wait_for(lambda: workers() == []) is None
