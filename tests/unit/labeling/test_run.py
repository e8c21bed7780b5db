"""Whole runs against a scripted server over HTTP."""

import pytest

from fixtures.exemplars import DEAD, NUM_FIRING, RULES, TOO_RARE, write_features
from fixtures.label_runs import read_rows
from thresher.contracts import paths
from thresher.contracts.errors import EndpointError, IntegrityError, MissingArtifactError, SpecError
from thresher.contracts.manifests import LabelManifest
from thresher.contracts.schemas import LABELS, RESPONSES, SCORES
from thresher.labeling.run import label
from thresher.storage import open_store


def test_right_labels_beat_shuffled_ones(planted_store, label_spec) -> None:
    manifest = label(label_spec(features={"count": 4}))
    labels, scores = (read_rows(planted_store, files) for files in (manifest.labels, manifest.scores))
    assert {row["feature"]: row["text"] for row in labels} == {
        latent: rule.name for latent, rule in RULES.items()
    }
    assert manifest.mean_scores["simulation"] > 0.95
    assert manifest.mean_scores["detection"] == 1.0
    assert manifest.mean_scores["detection.shuffled"] == 0.5
    assert manifest.simulator_digit_mass == pytest.approx(0.89)

    label_of = {row["feature"]: row["label_id"] for row in labels}
    for row in scores:
        assert (row["label_id"] == label_of[row["feature"]]) is not row["shuffled"]
        assert row["ci_low"] is None or row["ci_low"] <= row["value"] <= row["ci_high"]
    # A label that says nothing of the contexts predicts a constant: it has no correlation, and no zero in its place.
    shuffled = [row for row in scores if row["score_type"] == "simulation" and row["shuffled"]]
    assert [(row["state"], row["value"]) for row in shuffled] == [("undefined", None)] * 4


def test_tables_have_their_schemas_and_the_manifest_covers_them(planted_store, label_spec) -> None:
    manifest = label(label_spec(features={"count": 2}))
    for files, schema in (
        (manifest.labels, LABELS),
        (manifest.scores, SCORES),
        (manifest.responses, RESPONSES),
    ):
        assert read_rows(planted_store, files, schema)
    responses = read_rows(planted_store, manifest.responses)
    assert manifest.num_calls == len(responses) == len({row["request_sha256"] for row in responses})
    assert manifest.num_prompt_tokens == sum(row["num_prompt_tokens"] for row in responses)
    answers = {row["received_at"] for row in responses if row["purpose"] == "explain"}
    assert {row["created_at"] for row in read_rows(planted_store, manifest.labels)} == answers
    assert planted_store.head(paths.spec(paths.label_run("planted", "1", manifest.run_id))) is not None


def test_a_finished_run_is_found_and_asks_nothing(scripted_llm, label_spec) -> None:
    spec = label_spec(features={"count": 2})
    manifest, num_requests = label(spec), len(scripted_llm.requests)
    assert label(spec) == manifest
    assert len(scripted_llm.requests) == num_requests


def test_another_run_pays_only_for_what_is_new(planted_store, scripted_llm, label_spec) -> None:
    few = label(label_spec(features={"selection": [3, 5]}, baseline={"num_shuffles": 0}))
    num_requests = len(scripted_llm.requests)
    more = label(label_spec(features={"selection": [3, 5, 8]}, baseline={"num_shuffles": 0}))
    new = more.num_calls - few.num_calls
    assert len(scripted_llm.requests) == num_requests + new
    assert len(read_rows(planted_store, more.responses)) == more.num_calls  # whole by itself


def test_dead_and_rare_features_are_labelled_so(planted_store, label_spec) -> None:
    manifest = label(label_spec(features={"selection": [DEAD, TOO_RARE, 3]}))
    states = {row["feature"]: row["state"] for row in read_rows(planted_store, manifest.labels)}
    assert states == {DEAD: "dead", TOO_RARE: "too_rare", 3: "ok"}
    assert manifest.states == {"dead": 1, "ok": 1, "too_rare": 1}


def test_too_few_exemplars_are_too_rare(label_spec) -> None:
    manifest = label(label_spec(features={"selection": [3], "min_exemplars": NUM_FIRING + 1}))
    assert manifest.states == {"too_rare": 1}
    assert manifest.num_calls == 0


@pytest.mark.parametrize(
    ("answer", "state"), [("I cannot help with that.", "refused"), ("...", "unparsable")]
)
def test_no_usable_phrase_has_a_state_and_no_score(
    planted_store, scripted_llm, label_spec, answer, state
) -> None:
    scripted_llm.explanation = answer
    manifest = label(label_spec(features={"count": 2}))
    assert manifest.states == {state: 2}
    assert [row["text"] for row in read_rows(planted_store, manifest.labels)] == [None, None]
    assert read_rows(planted_store, manifest.scores) == []
    assert manifest.mean_scores == {}


def test_positions_without_digits_are_unparsed(planted_store, scripted_llm, label_spec) -> None:
    scripted_llm.no_digits = True
    manifest = label(label_spec(features={"count": 2}, detection=None))
    rows = read_rows(planted_store, manifest.scores)
    assert {(row["state"], row["value"], row["n"]) for row in rows} == {("unparsable", None, 0)}
    assert all(row["n_unparsed"] > 0 for row in rows)
    assert manifest.simulator_digit_mass == 0


def test_budget_stops_and_a_larger_one_goes_on(planted_store, scripted_llm, label_spec) -> None:
    other_model = {"revision": "other"}  # whose answers are none of ours
    free = label(label_spec(features={"count": 2}, endpoint=other_model))
    limit = (free.num_prompt_tokens + free.num_completion_tokens) * 3 // 4
    stopped = label(label_spec(features={"count": 2}, budget={"max_tokens": limit}))
    states = [row["state"] for row in read_rows(planted_store, stopped.scores)]
    assert 0 < states.count("over_budget") < len(states)
    assert stopped.num_prompt_tokens + stopped.num_completion_tokens <= limit

    before = len(scripted_llm.requests)
    whole = label(label_spec(features={"count": 2}, budget={"max_tokens": 100 * limit}))
    asked = len(scripted_llm.requests) - before
    assert asked == whole.num_calls - stopped.num_calls
    assert "over_budget" not in [row["state"] for row in read_rows(planted_store, whole.scores)]
    assert whole.run_id != stopped.run_id


def test_a_budget_below_one_label_leaves_all_over_budget(label_spec) -> None:
    manifest = label(label_spec(features={"count": 4}, budget={"max_tokens": 10}))
    assert manifest.states == {"over_budget": 4}
    assert manifest.num_calls == 0


def test_splits_that_share_documents_are_refused(tmp_path, scripted_llm, label_spec) -> None:
    store = open_store(f"file://{tmp_path}/shared")
    write_features(store, documents_shared=True)
    with pytest.raises(IntegrityError, match="the calibrate split and in another"):
        label(label_spec(root=store.url))
    assert scripted_llm.requests == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"features": {"selection": [99]}}, "features.selection"),
        ({"tokenizer": "/nowhere"}, "tokenizer"),
        ({"dictionary": "planted"}, "dictionary"),
        ({"endpoint": {"model": "other"}}, "endpoint.model"),
    ],
)
def test_faults_of_the_spec_are_found_before_anything_is_asked(
    scripted_llm, label_spec, changes, field
) -> None:
    with pytest.raises(SpecError) as caught:
        label(label_spec(**changes))
    assert caught.value.field == field
    assert scripted_llm.requests == []


def test_missing_features_name_the_stage(label_spec) -> None:
    with pytest.raises(MissingArtifactError, match="run the stage"):
        label(label_spec(corpus="d" * 16))


def test_prompt_logprobs_are_probed_before_anything_is_paid(scripted_llm, label_spec) -> None:
    scripted_llm.ignore_prompt_logprobs = True
    with pytest.raises(SpecError, match="set simulation to null") as caught:
        label(label_spec())
    assert caught.value.field == "simulation.num_logprobs"
    assert not any("messages" in body for body in scripted_llm.requests)


def test_a_wrong_key_is_said_so(scripted_llm, label_spec, monkeypatch) -> None:
    scripted_llm.api_key = "right"
    monkeypatch.setenv("OPENAI_API_KEY", "wrong-secret")
    with pytest.raises(EndpointError, match="OPENAI_API_KEY") as caught:
        label(label_spec())
    assert "wrong-secret" not in str(caught.value)
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    assert label(label_spec(features={"count": 1})).states == {"ok": 1}
    assert "right" not in label_spec().model_dump_json()


def test_an_endpoint_that_is_down_is_said_so(label_spec) -> None:
    with pytest.raises(EndpointError, match="cannot be reached"):
        label(label_spec(endpoint={"base_url": "http://127.0.0.1:9/v1"}))


def test_an_explainer_of_its_own_is_asked_for_labels(planted_store, scripted_llm, label_spec) -> None:
    own = {"model": "scripted", "revision": "of-the-explainer", "base_url": scripted_llm.base_url}
    manifest = label(label_spec(features={"count": 1}, explainer={"endpoint": own}))
    assert read_rows(planted_store, manifest.labels)[0]["explainer_revision"] == "of-the-explainer"


@pytest.mark.parametrize("form", ["chat", "completion"])
def test_several_texts_a_request_are_judged_as_one_by_one(planted_store, label_spec, form) -> None:
    counts = {"num_active": 3, "num_inactive": 3, "num_hard": 3, "form": form}
    alone = label(label_spec(simulation=None, detection=counts))
    joint = label(label_spec(simulation=None, detection=counts | {"contexts_per_prompt": 4}))

    def judged(manifest: LabelManifest) -> list[tuple[object, ...]]:
        rows = read_rows(planted_store, manifest.scores)
        return sorted(
            (row["feature"], row["score_type"], row["shuffled"], row["value"], row["n"]) for row in rows
        )

    def num_asked(manifest: LabelManifest) -> int:
        return sum(row["purpose"] == "detection" for row in read_rows(planted_store, manifest.responses))

    assert judged(joint) == judged(alone)
    assert (num_asked(alone), num_asked(joint)) == (9 * 2 * len(RULES), 3 * 2 * len(RULES))
