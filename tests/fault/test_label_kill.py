"""SIGKILL at random moments of a label run, counted at the server: no paid answer is asked again, no row doubled.

An answer is lost to a kill only if it was on its way, or not durable yet: at most the requests in flight and those that
arrive during two commits. Everything stored is found. THRESHER_FAULT_SEEDS sets how many runs are hit.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import pytest

from fixtures.exemplars import write_features
from fixtures.label_runs import read_rows
from fixtures.scripted_llm import ScriptedLlm
from thresher.contracts.manifests import FileEntry, LabelManifest
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.run import label
from thresher.labeling.spec import LabelSpec
from thresher.storage import ObjectStore, open_store

pytestmark = pytest.mark.fault

NUM_SEEDS = int(os.environ.get("THRESHER_FAULT_SEEDS", "3"))
CONCURRENCY = 4
LOST_A_KILL = 3 * CONCURRENCY
"""In flight, in the batch that is written, and in the one that waits for it."""
PROGRAM = (
    "import sys; from thresher.labeling.run import label; from thresher.labeling.spec import LabelSpec; "
    "label(LabelSpec.model_validate_json(sys.argv[1]))"
)
TIMEOUT_S = 120


def start(spec: LabelSpec) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, spec.model_dump_json()], stderr=subprocess.DEVNULL
    )


def hashes(llm: ScriptedLlm) -> Counter[str]:
    """How often each request arrived."""
    return Counter(ModelRequest("", "scripted", "r1", body, 0).sha256 for body in llm.requests)


def stored(store: ObjectStore) -> set[str]:
    parts = [FileEntry(key=info.key, size=info.size, sha256="") for info in store.list("responses/")]
    return {row["request_sha256"] for row in read_rows(store, parts)}


def tables(store: ObjectStore, manifest: LabelManifest) -> list[dict]:
    rows = read_rows(store, [*manifest.labels, *manifest.scores])
    return [{name: value for name, value in row.items() if name != "created_at"} for row in rows]


@pytest.fixture
def spec(label_spec) -> LabelSpec:
    prices = {"scripted": {"prompt": 1.0, "completion": 2.0}}
    return label_spec(
        features={"count": 4},
        endpoint={"concurrency": CONCURRENCY, "revision": "r1"},
        budget={"prices": prices},
    )


@pytest.fixture
def undisturbed(spec, tmp_path) -> tuple[ObjectStore, LabelManifest]:
    store = open_store(f"file://{tmp_path}/undisturbed")
    write_features(store)
    return store, label(spec.model_copy(update={"root": store.url}))


def kill_after(process: subprocess.Popen[bytes], is_due: Callable[[], bool]) -> bool:
    """SIGKILL when it is due; returns whether the process had not ended before."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while process.poll() is None and not is_due():
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    was_alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return was_alive


@pytest.mark.parametrize("seed", range(NUM_SEEDS))
def test_nothing_stored_is_asked_again(planted_store, scripted_llm, spec, undisturbed, seed) -> None:
    draw, (undisturbed_store, expected) = random.Random(seed), undisturbed
    scripted_llm.delay_s = 0.02
    scripted_llm.requests.clear()
    arrived, num_kills = Counter[str](), 0
    for _ in range(draw.randint(1, 3)):
        before, limit = stored(planted_store), draw.randint(1, expected.num_calls)
        extra_s = draw.random() * 0.1
        due_s: list[float] = []

        def is_due(limit: int = limit, extra_s: float = extra_s, due_s: list[float] = due_s) -> bool:
            if len(scripted_llm.requests) >= limit and not due_s:
                due_s.append(time.monotonic() + extra_s)
            return bool(due_s) and time.monotonic() >= due_s[0]

        num_kills += kill_after(start(spec), is_due)
        scripted_llm.wait_until_idle()
        assert before.isdisjoint(hashes(scripted_llm)), "a stored answer was asked for again"
        arrived += hashes(scripted_llm)
        scripted_llm.requests.clear()

    before = stored(planted_store)
    manifest = label(spec)
    assert before.isdisjoint(hashes(scripted_llm))
    arrived += hashes(scripted_llm)
    asked_again = sum(arrived.values()) - len(arrived)
    assert asked_again <= num_kills * LOST_A_KILL
    assert len(arrived) == expected.num_calls

    assert tables(planted_store, manifest) == tables(undisturbed_store, expected)
    same = {"num_calls", "num_prompt_tokens", "num_completion_tokens", "cost", "states", "usage"}
    assert manifest.model_dump(include=same) == expected.model_dump(include=same)
    responses = [row["request_sha256"] for row in read_rows(planted_store, manifest.responses)]
    assert len(responses) == len(set(responses)) == expected.num_calls
    assert len(stored(planted_store)) == expected.num_calls


def test_two_processes_at_one_run_have_one_winner(planted_store, scripted_llm, spec, undisturbed) -> None:
    undisturbed_store, expected = undisturbed
    scripted_llm.delay_s = 0.02
    processes = [start(spec) for _ in range(2)]
    assert [process.wait(TIMEOUT_S) for process in processes] == [0, 0]
    manifest = label(spec)
    assert tables(planted_store, manifest) == tables(undisturbed_store, expected)
    responses = [row["request_sha256"] for row in read_rows(planted_store, manifest.responses)]
    assert len(responses) == len(set(responses)) == expected.num_calls
    manifests = [info.key for info in planted_store.list("labels/") if info.key.endswith("manifest.json")]
    assert len(manifests) == 1
    scripted_llm.requests.clear()
    label(spec)
    assert scripted_llm.requests == []
