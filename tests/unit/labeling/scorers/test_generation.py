"""Texts written from labels, on which the planted features of a tiny model fire or not: whole runs over HTTP."""

import pytest

from fixtures.exemplars import NAME, RULES, VERSION
from fixtures.label_runs import read_rows
from fixtures.scripted_subject import publish_rules
from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.labeling.run import label, plan
from thresher.labeling.subject.local_subject import LocalSubject

pytestmark = pytest.mark.slow
SECTION = {"num_requests": 3, "texts_per_request": 4}
NUM_TEXTS = 3 * 2 * 4
TYPES = ("generation", "generation_precision", "generation_recall")


@pytest.fixture
def generation_spec(planted_store, scripted_subject, label_spec):
    """Makes specs of a run that scores by generation alone; `section` are changes of its own."""
    publish_rules(planted_store, scripted_subject)

    def make(section=(), **changes):
        given = {"model": str(scripted_subject), **SECTION, **dict(section)}
        others = {"simulation": None, "detection": None}
        return label_spec(
            **{"features": {"selection": sorted(RULES)}, **others, "generation": given, **changes}
        )

    return make


def values(rows: list[dict], name: str, *, shuffled: bool) -> set[float | None]:
    return {row["value"] for row in rows if (row["score_type"], row["shuffled"]) == (name, shuffled)}


def test_right_labels_make_their_feature_fire_and_false_ones_do_not(planted_store, generation_spec) -> None:
    rows = read_rows(planted_store, label(generation_spec()).scores)
    assert len(rows) == len(TYPES) * len(RULES) * 2
    assert {row["score_type"] for row in rows} == set(TYPES)
    for name in TYPES:
        assert values(rows, name, shuffled=False) == {1.0}
    assert values(rows, "generation", shuffled=True) == {0.5}
    assert values(rows, "generation_precision", shuffled=True) == {0.0}
    assert values(rows, "generation_recall", shuffled=True) == {None}  # nothing fired
    for row in rows:
        undefined = row["value"] is None
        assert row["state"] == ("undefined" if undefined else "ok")
        assert (row["n"], row["n_unparsed"]) == (NUM_TEXTS, 0)
        if not row["shuffled"]:
            assert row["ci_low"] < row["value"] == row["ci_high"]
            assert (row["lift"] is None) == (row["score_type"] == "generation_recall")
    lifts = {
        row["lift"] for row in rows if row["score_type"] == "generation_precision" and not row["shuffled"]
    }
    assert lifts == {1.0}


def test_texts_of_a_label_are_written_once_and_a_resumed_run_asks_nothing(
    planted_store, scripted_llm, generation_spec, monkeypatch
) -> None:
    spec = generation_spec(single_token=None)
    first = label(spec)
    written = [body for body in scripted_llm.requests if "short texts" in body["messages"][0]["content"]]
    assert len(written) == len(RULES) * 3 * 2
    assert first.usage["generation"].num_calls == len(written) + len(RULES) * 2 * 3
    responses = read_rows(planted_store, first.responses)
    assert sum(row["model"] == "subject0" for row in responses) == len(RULES) * 2 * 3

    planted_store.delete(paths.manifest(paths.label_run(NAME, VERSION, first.run_id)))
    scripted_llm.requests.clear()

    def never(*_: object) -> None:
        raise AssertionError("the subject is asked again")

    monkeypatch.setattr(LocalSubject, "_answer", never)
    assert label(spec).scores == first.scores
    assert scripted_llm.requests == []


def test_a_plan_bounds_the_run(generation_spec) -> None:
    prices = {"scripted": {"prompt": 1.0, "completion": 4.0}}
    spec = generation_spec(single_token=None, budget={"prices": prices})
    planned, made = plan(spec).by_purpose["generation"], label(spec).usage["generation"]
    assert planned.cost >= made.cost > 0  # the subject has no price, and costs nothing
    assert planned.num_calls >= made.num_calls
    assert planned.num_prompt_tokens + planned.num_completion_tokens > made.num_prompt_tokens
    assert planned.num_completion_tokens >= made.num_completion_tokens


def scored_with(scripted_llm, store, spec, answer: str) -> tuple[list[dict], list[str]]:
    """Scores of feature 8 with one answer to every request for texts, and the last message of each such request."""
    scripted_llm.written.extend([answer] * 100)
    rows = read_rows(store, label(spec(features={"selection": [8]}, single_token=None)).scores)
    chats = [body["messages"] for body in scripted_llm.requests]
    return rows, [chat[-1]["content"] for chat in chats if "short texts" in chat[0]["content"]]


@pytest.mark.parametrize(
    ("answer", "num_read"),
    [
        ("", 0),
        ("I'm sorry, I cannot write that.\n\n", 1),
        ("1. the ship\n2. the ship\n3. THE SHIP\n4. the ship", 1),
        ("1. " + "x" * 1000 + "\n2. \x00\x1b\u202e\n3. ...\n4. the ship", 1),
        ("<think>1. the ship\n2. the port", 0),
        ("[" * 100_000, 0),
    ],
)
def test_answers_of_no_use_are_asked_for_again_and_then_unparsed(
    planted_store, scripted_llm, generation_spec, answer, num_read
) -> None:
    rows, asked = scored_with(scripted_llm, planted_store, generation_spec, answer)
    assert {(row["state"], row["value"]) for row in rows} == {("unparsable", None)}
    # What is in the first answer is nothing new in the others, which are the same.
    assert {(row["n"], row["n_unparsed"]) for row in rows} == {(num_read, NUM_TEXTS - num_read)}
    assert len(asked) == 2 * 3 * 2
    assert sum("cannot be used" in message for message in asked) == len(asked) // 2


def test_the_label_itself_is_no_text(planted_store, scripted_llm, generation_spec) -> None:
    answer = f"1. {RULES[8].name}\n2. the ship\n3. the port\n4. of waves"
    rows, asked = scored_with(scripted_llm, planted_store, generation_spec, answer)
    assert {row["n"] for row in rows} == {3}
    assert len(asked) == 2 * 3


def test_a_feature_fires_above_a_share_of_its_strongest_exemplar(planted_store, generation_spec) -> None:
    """Its code is 1 on the words, and 4 to 5 on exemplars."""
    rows = read_rows(planted_store, label(generation_spec({"min_share": 0.5})).scores)
    assert values(rows, "generation", shuffled=False) == {1.0}
    assert values(rows, "generation_precision", shuffled=False) == {0.0}
    assert values(rows, "generation_recall", shuffled=False) == {None}


def test_scoring_stops_once_the_interval_is_narrow(planted_store, generation_spec) -> None:
    few, many = (
        read_rows(
            planted_store,
            label(generation_spec(stopping={"target_width": width, "looks": [1, 2]})).scores,
        )
        for width in (2.0, 0.01)
    )
    assert {row["n"] for row in few} == {NUM_TEXTS}
    assert {row["n"] for row in many} == {2 * NUM_TEXTS}


def test_a_request_that_fails_or_is_not_paid_for_is_no_zero(
    planted_store, scripted_llm, generation_spec, monkeypatch
) -> None:
    spec = generation_spec(features={"selection": [8]})
    monkeypatch.setattr(scripted_llm, "refuses", lambda body: "no" if "short texts" in str(body) else None)
    rows = read_rows(planted_store, label(spec).scores)
    assert {(row["state"], row["value"]) for row in rows} == {("api_error", None)}
    monkeypatch.undo()
    limited = label(generation_spec(features={"selection": [5, 8]}, budget={"max_tokens": 2500}))
    rows = read_rows(planted_store, limited.scores)
    assert {(row["state"], row["value"]) for row in rows} == {("over_budget", None)}


@pytest.mark.parametrize(
    ("section", "changes", "field"),
    [
        ({"model": "/nowhere"}, {}, "generation.model"),
        ({"num_requests": 1}, {}, "generation.num_requests"),
        ({"temperature": 0}, {}, "generation.temperature"),
        ({"min_share": 1}, {}, "generation.min_share"),
        (
            {},
            {"choice": {"by": "generation"}, "explainer": {"num_candidates": 2, "temperature": 1}},
            "choice.by",
        ),
        ({}, {"cascade": {"first": ["steering"]}}, "cascade.first"),
    ],
)
def test_what_cannot_be_done_is_found_before_anything_is_asked(
    scripted_llm, generation_spec, section, changes, field
) -> None:
    with pytest.raises(SpecError) as caught:
        label(generation_spec(section, **changes))
    assert caught.value.field == field
    assert scripted_llm.requests == scripted_llm.probes == []


def test_it_may_decide_the_cascade(planted_store, generation_spec) -> None:
    detection = {"num_active": 3, "num_inactive": 3}
    cascade = {"first": ["generation"], "min_lift": 0.3}
    rows = read_rows(planted_store, label(generation_spec(detection=detection, cascade=cascade)).scores)
    assert {row["state"] for row in rows if row["score_type"] == "detection"} == {"ok"}
