"""Texts of a tiny model with planted features added to its stream, judged over HTTP: whole runs."""

import pytest
import torch

from fixtures.exemplars import NAME, NUM_LATENTS, VERSION
from fixtures.label_runs import read_rows
from fixtures.scripted_subject import WIDTH, publish_rules, set_site
from fixtures.subject_dictionary import publish_vectors
from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.labeling.run import label, plan
from thresher.labeling.subject.local_subject import LocalSubject

WORDY = [5, 8, 9]
"""Features whose words are a token each: one that says digits says them without spaces."""
pytestmark = pytest.mark.slow
SECTION = {"num_prompts": 4, "strength": 3.0, "max_tokens": 4}
TYPES = ("steering", "steering_auroc")


@pytest.fixture
def steering_spec(planted_store, scripted_subject, label_spec):
    """Makes specs of a run that scores by steering alone; `section` are changes of its own."""
    publish_rules(planted_store, scripted_subject)

    def make(section=(), **changes):
        given = {"model": str(scripted_subject), **SECTION, **dict(section)}
        others = {"simulation": None, "detection": None, "single_token": None}
        return label_spec(**{"features": {"selection": WORDY}, **others, "steering": given, **changes})

    return make


def test_right_labels_tell_steered_texts_from_others(planted_store, scripted_llm, steering_spec) -> None:
    rows = read_rows(planted_store, label(steering_spec()).scores)
    assert {row["score_type"] for row in rows} == set(TYPES)
    assert len(rows) == len(TYPES) * len(WORDY) * 2
    assert {(row["state"], row["n"], row["n_unparsed"]) for row in rows} == {("ok", 8, 0)}
    own = [row for row in rows if not row["shuffled"]]
    assert {row["value"] for row in own} == {1.0}
    assert all(row["lift"] >= 0.5 and row["lift_low"] < row["lift"] for row in own)
    # A shuffled label is wrong about steered texts, and right about those controls that are its own feature's.
    assert all(row["value"] <= 0.5 for row in rows if row["shuffled"])
    prompts = [body["messages"][0]["content"] for body in scripted_llm.requests if "logprobs" in body]
    assert any("Text: I think that ship ship ship ship\n" in prompt for prompt in prompts)


def test_too_weak_a_steering_says_nothing(planted_store, steering_spec) -> None:
    rows = read_rows(planted_store, label(steering_spec({"strength": 0.001})).scores)
    assert {row["value"] for row in rows} == {0.5}


def test_a_resumed_run_asks_nothing(planted_store, scripted_llm, steering_spec, monkeypatch) -> None:
    spec = steering_spec()
    first = label(spec)
    planted_store.delete(paths.manifest(paths.label_run(NAME, VERSION, first.run_id)))
    scripted_llm.requests.clear()

    def never(*_: object) -> None:
        raise AssertionError("the subject is asked again")

    monkeypatch.setattr(LocalSubject, "_answer", never)
    assert label(spec).scores == first.scores
    assert scripted_llm.requests == []
    planned = plan(spec).by_purpose["steering"]
    used = first.usage["steering"]
    assert planned.num_calls >= used.num_calls
    assert planned.num_prompt_tokens >= used.num_prompt_tokens


def test_scoring_goes_on_with_the_prompts_that_are_left(planted_store, steering_spec) -> None:
    looks = {"target_width": 0.001, "looks": [1, 2, 8]}
    rows = read_rows(planted_store, label(steering_spec({"num_prompts": 7}, stopping=looks)).scores)
    assert {row["n"] for row in rows} == {2 * 2 * 7}  # of 16 prompts, two batches


def test_a_text_that_says_nothing_is_unparsed(planted_store, steering_spec, monkeypatch) -> None:
    answer = LocalSubject._answer

    def silent(subject, request):
        made = answer(subject, request)
        if request.body.get("steering", {}).get("feature") == 8:
            made.body["choices"][0]["text"] = " \x00\n"
        return made

    monkeypatch.setattr(LocalSubject, "_answer", silent)
    rows = read_rows(planted_store, label(steering_spec(features={"selection": [8]})).scores)
    assert {(row["state"], row["n"], row["n_unparsed"]) for row in rows} == {("undefined", 4, 4)}


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ({"model": "/nowhere"}, "steering.model"),
        ({"strength": 0}, "steering.strength"),
        ({"num_prompts": 17}, "steering.prompts"),
        ({"num_prompts": 2, "prompts": ["I think", "I think"]}, "steering.prompts"),
        ({"num_prompts": 2, "prompts": ["I think", "So"]}, "steering.prompts"),
    ],
)
def test_what_cannot_be_done_is_found_before_anything_is_asked(
    scripted_llm, steering_spec, section, field
) -> None:
    with pytest.raises(SpecError) as caught:
        label(steering_spec(section))
    assert caught.value.field == field
    assert scripted_llm.requests == scripted_llm.probes == []


@pytest.mark.parametrize(
    ("site", "width", "field"),
    [
        ("mlp_in.0", WIDTH, "steering"),
        ("resid_post.7", WIDTH, "steering.model"),
        ("resid_post.1", 64, "steering.model"),
    ],
)
def test_a_dictionary_out_of_the_stream_is_refused(
    planted_store, scripted_llm, scripted_subject, label_spec, site, width, field
) -> None:
    publish_vectors(planted_store, torch.ones(NUM_LATENTS, width), site)
    set_site(planted_store, site)
    with pytest.raises(SpecError) as caught:
        label(label_spec(steering={"model": str(scripted_subject)}))
    assert caught.value.field == field
    assert scripted_llm.requests == scripted_llm.probes == []
