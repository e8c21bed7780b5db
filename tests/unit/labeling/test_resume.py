"""A run that is killed goes on where it was, and ends with what an undisturbed one has."""

import subprocess
import sys
import time

import pytest

from fixtures.exemplars import write_features
from fixtures.label_runs import read_rows
from fixtures.scripted_llm import ScriptedLlm
from thresher.contracts import paths
from thresher.contracts.manifests import FileEntry, LabelManifest
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.run import label
from thresher.storage import ObjectStore, open_store

PROGRAM = (
    "import sys; from thresher.labeling.run import label; from thresher.labeling.spec import LabelSpec; "
    "label(LabelSpec.model_validate_json(sys.argv[1]))"
)
WITHOUT_TIME = {"created_at"}


def tables(store: ObjectStore, manifest: LabelManifest) -> list[dict]:
    rows = read_rows(store, [*manifest.labels, *manifest.scores])
    return [{name: value for name, value in row.items() if name not in WITHOUT_TIME} for row in rows]


def stored_requests(store: ObjectStore) -> set[str]:
    parts = [FileEntry(key=info.key, size=info.size, sha256="") for info in store.list("responses/")]
    return {row["request_sha256"] for row in read_rows(store, parts)}


def sent(llm: ScriptedLlm) -> set[str]:
    """Hashes of the requests that arrived."""
    return {ModelRequest("explain", "scripted", "unstated", body, 0).sha256 for body in llm.requests}


@pytest.mark.fault
def test_kill_and_rerun(planted_store, scripted_llm, label_spec, tmp_path) -> None:
    spec = label_spec(features={"count": 4}, endpoint={"concurrency": 3})
    scripted_llm.delay_s = 0.05
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, spec.model_dump_json()])
    deadline_s = time.monotonic() + 60
    while len(stored_requests(planted_store)) < 20:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    process.kill()
    process.wait()
    scripted_llm.wait_until_idle()
    assert not any(info.key.endswith(("manifest.json", ".partial")) for info in planted_store.list("labels/"))

    stored = stored_requests(planted_store)
    scripted_llm.requests.clear()
    resumed = label(spec)
    assert resumed.num_calls > len(stored)
    assert stored.isdisjoint(sent(scripted_llm))

    undisturbed_store = open_store(f"file://{tmp_path}/undisturbed")
    write_features(undisturbed_store)
    undisturbed = label(spec.model_copy(update={"root": undisturbed_store.url}))
    assert undisturbed.run_id == resumed.run_id
    assert tables(planted_store, resumed) == tables(undisturbed_store, undisturbed)
    assert undisturbed.mean_scores == resumed.mean_scores


def test_an_endpoint_that_dies_midway_keeps_its_answers(planted_store, scripted_llm, label_spec) -> None:
    spec = label_spec(features={"count": 2}, endpoint={"max_retries": 0})
    scripted_llm.die_after = 12
    with pytest.raises(Exception, match="cannot be reached"):
        label(spec)
    scripted_llm.wait_until_idle()
    kept = stored_requests(planted_store)
    assert len(kept) >= 5
    assert (
        planted_store.head(paths.manifest(paths.label_run("planted", "1", label_run_id(planted_store))))
        is None
    )

    scripted_llm.die_after = None
    scripted_llm.requests.clear()
    manifest = label(spec)
    assert manifest.num_calls > len(kept)
    assert kept.isdisjoint(sent(scripted_llm))


def label_run_id(store: ObjectStore) -> str:
    return next(info.key.split("/")[3] for info in store.list("labels/"))


def test_created_at_is_when_the_answer_was_stored(planted_store, label_spec) -> None:
    manifest = label(label_spec(features={"selection": [0, 3]}))
    answered = [
        row["received_at"]
        for row in read_rows(planted_store, manifest.responses)
        if row["purpose"] == "explain"
    ]
    assert [row["created_at"] for row in read_rows(planted_store, manifest.labels)] == answered * 2
