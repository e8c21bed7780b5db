"""Every scorer over HTTP: right labels beat those of other features, and what cannot be read is counted."""

from collections import Counter

import pytest

from fixtures.exemplars import RULES
from fixtures.label_runs import read_rows
from thresher.contracts.errors import SpecError
from thresher.labeling.run import label

NO_SIMULATION = {"simulation": None, "detection": None}
EMBEDDING = {"num_active": 6, "num_inactive": 6, "num_hard": 4, "query_prefix": "Query: "}
SECTIONS = {
    "detection": {"num_active": 4, "num_inactive": 4, "num_hard": 3},
    "fuzzing": {"num_right": 4, "num_wrong": 4},
    "intruder": {"num_trials": 4},
    "simulation": {"num_top": 2, "num_quantile": 2, "num_negative": 2},
    "simulation_tokens": {"num_top": 1, "num_quantile": 1, "num_negative": 1, "tokens_per_context": 8},
    "simulation_chat": {"num_top": 2, "num_quantile": 2, "num_negative": 2},
}


def scored(store, label_spec, **changes) -> list[dict]:
    manifest = label(label_spec(features={"selection": sorted(RULES)}, **{**NO_SIMULATION, **changes}))
    return read_rows(store, manifest.scores)


@pytest.mark.parametrize("section", SECTIONS)
def test_right_labels_beat_false_ones(planted_store, label_spec, section) -> None:
    rows = scored(planted_store, label_spec, **{section: SECTIONS[section]})
    own = [row for row in rows if row["score_type"] == section and not row["shuffled"]]
    false = [row for row in rows if row["score_type"] == section and row["shuffled"]]
    assert len(own) == len(false) == len(RULES)
    assert min(row["value"] for row in own) > 0.9
    for row in false:  # a simulator that expects nothing anywhere is undefined, and no zero
        assert row["state"] == "undefined" if "simulation" in section else row["value"] < 0.7
    for row in own:
        assert row["ci_low"] <= row["value"] <= row["ci_high"]
        assert (row["state"], row["n_unparsed"]) == ("ok", 0)
        assert row["n"] > 0
        if "simulation" not in section:
            assert row["lift_low"] < row["lift"] <= row["lift_high"]
            assert row["lift"] > 0.25
    assert len({row["prompt_sha256"] for row in rows}) == 1


def test_hard_negatives_are_a_score_of_their_own(planted_store, label_spec) -> None:
    rows = scored(planted_store, label_spec, detection=SECTIONS["detection"])
    kinds = Counter(row["score_type"] for row in rows)
    assert kinds == dict.fromkeys(("detection", "detection_auroc", "detection_hard"), 2 * len(RULES))
    assert {row["n"] for row in rows if row["score_type"] == "detection_hard"} == {4 + 3}


def test_a_model_that_does_not_embed_is_refused_before_anything_is_spent(
    planted_store, label_spec, scripted_llm
) -> None:
    scripted_llm.embedding_mode = False
    endpoint = {"model": "scripted", "base_url": scripted_llm.base_url, "concurrency": 2, "max_retries": 0}
    with pytest.raises(SpecError, match="embeddings") as caught:
        scored(planted_store, label_spec, embedding={**EMBEDDING, "endpoint": endpoint})
    assert caught.value.field == "embedding"
    assert scripted_llm.requests == []


def test_a_blind_intruder_scores_the_feature_and_no_shuffled_label(planted_store, label_spec) -> None:
    rows = scored(planted_store, label_spec, intruder_blind={"num_trials": 4})
    assert [row["shuffled"] for row in rows] == [False] * len(RULES)
    assert all(row["value"] == 1.0 and row["lift"] is None for row in rows)


def test_three_definitions_and_the_calibrated_ones_stand_side_by_side(planted_store, label_spec) -> None:
    section = {**SECTIONS["simulation"], "num_calibrate": 4}
    manifest = label(label_spec(features={"selection": sorted(RULES)}, simulation=section, detection=None))
    rows = read_rows(planted_store, manifest.scores)
    own = {row["score_type"]: row["value"] for row in rows if row["feature"] == 3 and not row["shuffled"]}
    assert set(own) == {
        "simulation",
        "simulation_r2",
        "simulation_abs_dev",
        "simulation_calibrated_r2",
        "simulation_calibrated_abs_dev",
    }
    line = manifest.calibrations["simulation"]
    assert 0 < line.num_tokens <= len(RULES) * 4 * 16
    assert own["simulation_calibrated_r2"] > own["simulation_r2"] > 0.8


@pytest.mark.parametrize(
    "answer", ["[0, 1]", "no idea", '["0"]', "[true]", "[11]", "{}", "```json\n[1.5]\n```", "[" * 5000]
)
def test_lists_that_are_not_exact_are_unparsed(planted_store, scripted_llm, label_spec, answer) -> None:
    scripted_llm.levels = answer
    rows = scored(planted_store, label_spec, simulation_chat=SECTIONS["simulation_chat"])
    assert {(row["state"], row["value"], row["n"]) for row in rows} == {("unparsable", None, 0)}
    assert all(row["n_unparsed"] > 0 for row in rows)


def test_a_cascade_asks_the_costly_ones_about_survivors_alone(
    planted_store, scripted_llm, label_spec
) -> None:
    scripted_llm.explanation = RULES[3].name  # right for feature 3, wrong for the others
    rows = scored(
        planted_store,
        label_spec,
        detection=SECTIONS["detection"],
        simulation=SECTIONS["simulation"],
        cascade={"first": ["detection"], "min_lift": -0.1},
        baseline={"num_shuffles": 1},
    )
    states = {(row["feature"], row["score_type"]): row["state"] for row in rows if not row["shuffled"]}
    assert states[3, "simulation"] == "ok"
    rows = scored(
        planted_store,
        label_spec,
        detection=SECTIONS["detection"],
        simulation=SECTIONS["simulation"],
        cascade={"first": ["detection"], "min_lift": 0.9},
    )
    screened = [row for row in rows if row["score_type"] == "simulation"]
    assert {(row["state"], row["value"], row["n"]) for row in screened} == {("screened_out", None, 0)}
    assert all(row["value"] is not None for row in rows if row["score_type"] == "detection")


def test_scoring_stops_once_the_interval_is_narrow(planted_store, label_spec) -> None:
    section = {"num_active": 2, "num_inactive": 2, "num_hard": 0}
    few, many = (
        scored(
            planted_store,
            label_spec,
            detection=section,
            stopping={"target_width": width, "looks": [1, 2, 4]},
        )
        for width in (2.0, 0.01)
    )
    assert {row["n"] for row in few} == {4}
    assert {row["n"] for row in many} == {16}
    assert all("3 looks" in row["ci_method"] for row in few)
    by_feature = {
        feature: {row["sample_sha256"] for row in many if row["feature"] == feature} for feature in RULES
    }
    assert all(len(samples) == 1 for samples in by_feature.values())  # in step


def test_a_budget_met_midway_keeps_what_the_first_looks_gave(planted_store, scripted_llm, label_spec) -> None:
    section = {"num_active": 2, "num_inactive": 2, "num_hard": 0}
    looks = {"target_width": 0.01, "looks": [1, 2, 4]}
    changes = {"detection": section, "stopping": looks, "baseline": {"num_shuffles": 1}}
    spec = label_spec(features={"selection": [3, 5]}, simulation=None, endpoint={"revision": "a"}, **changes)
    whole = label(spec)
    limit = int(0.7 * (whole.num_prompt_tokens + whole.num_completion_tokens))
    stopped = label(
        label_spec(features={"selection": [3, 5]}, simulation=None, budget={"max_tokens": limit}, **changes)
    )
    rows = read_rows(planted_store, stopped.scores)
    kept = [row for row in rows if row["state"] == "ok"]
    assert kept
    assert min(row["n"] for row in kept) < 16


def test_embeddings_are_asked_of_their_own_endpoint(planted_store, scripted_llm, label_spec) -> None:
    embedder = {"model": "scripted", "revision": "of-the-embedder", "base_url": scripted_llm.base_url}
    rows = scored(planted_store, label_spec, embedding={**EMBEDDING, "endpoint": embedder})
    assert {row["scorer_revision"] for row in rows} == {"of-the-embedder"}
    for row in rows:
        if not row["shuffled"]:
            assert row["value"] == 1.0
        elif row["score_type"] == "embedding":
            assert row["value"] < 0.6
    own = [row for row in rows if row["score_type"] == "embedding" and not row["shuffled"]]
    assert all(row["lift_low"] > 0 and row["n"] == 12 for row in own)
    assert {row["score_type"] for row in rows} == {"embedding", "embedding_hard"}
    embedded = [body for body in scripted_llm.requests if "input" in body]
    assert len(embedded) == 2 * len(RULES)  # each label and each feature's texts once, for all pairings
