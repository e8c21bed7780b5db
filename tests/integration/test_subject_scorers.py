"""Generation and steering on a real model, whose embeddings are what the planted features fire on."""

from pathlib import Path

import pytest

from fixtures.exemplars import NAME, VERSION
from fixtures.label_runs import read_rows
from fixtures.scripted_subject import publish_rules
from thresher.contracts import paths
from thresher.labeling.run import label
from thresher.labeling.subject.local_subject import LocalSubject
from thresher.runtime.model_identity import identify_model
from thresher.storage import ObjectStore

pytestmark = pytest.mark.real


def test_a_whole_run_on_the_default_model(
    planted_store: ObjectStore, label_spec, scripted_llm, bundled_model: Path, monkeypatch
) -> None:
    publish_rules(planted_store, bundled_model)
    own = {"model": str(bundled_model)}
    spec = label_spec(
        features={"selection": [5, 8]},
        simulation=None,
        detection=None,
        generation={**own, "num_requests": 2, "texts_per_request": 3},
        steering={**own, "num_prompts": 2, "max_tokens": 6},
    )
    manifest = label(spec)
    rows = read_rows(planted_store, manifest.scores)
    own_values = {
        (row["score_type"], row["value"])
        for row in rows
        if not row["shuffled"] and row["score_type"].startswith("generation")
    }
    assert own_values == {("generation", 1.0), ("generation_precision", 1.0), ("generation_recall", 1.0)}
    assert {row["value"] for row in rows if row["shuffled"] and row["score_type"] == "generation"} == {0.5}
    steered = [row for row in rows if row["score_type"].startswith("steering")]
    assert {(row["state"], row["n"]) for row in steered} == {("ok", 4)}

    responses = read_rows(planted_store, manifest.responses)
    of_subject = [row for row in responses if row["model"] == bundled_model.name]
    assert {row["revision"] for row in of_subject} == {identify_model(str(bundled_model)).weights_sha256}
    # Two features, each tried on two labels' texts, in two draws; and two prompts with each feature and its control.
    assert sum("largest_activations" in row["response"] for row in of_subject) == 2 * 2 * 2
    assert 2 * 2 < sum("choices" in row["response"] for row in of_subject) <= 2 * 2 * 2

    planted_store.delete(paths.manifest(paths.label_run(NAME, VERSION, manifest.run_id)))
    scripted_llm.requests.clear()

    def never(*_: object) -> None:
        raise AssertionError("the subject is asked again")

    monkeypatch.setattr(LocalSubject, "_answer", never)
    assert label(spec).scores == manifest.scores
    assert scripted_llm.requests == []
