"""Scorers tried on planted features over HTTP: one that knows the rules, and one that knows nothing."""

import math
import re

import numpy as np
import pytest

from fixtures.exemplars import RULES as LATENTS
from fixtures.label_runs import read_rows
from fixtures.scripted_llm import ScriptedLlm
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.qualification.planted import FIRING, PIECE, plant
from thresher.labeling.qualification.qualify import qualify
from thresher.labeling.qualification.records import find_qualifications
from thresher.labeling.qualification.rules import RULE_KINDS, RULES, Rule
from thresher.labeling.qualification.separation import Tried, separation
from thresher.labeling.run import label
from thresher.labeling.scorers.build import judges
from thresher.labeling.scorers.spec import BootstrapSpec
from thresher.pipelines.qualification import qualification_lines
from thresher.storage import open_store

pytestmark = pytest.mark.slow

SECTIONS = {
    "detection": {"num_active": 3, "num_inactive": 3, "num_hard": 0},
    "fuzzing": {"num_right": 2, "num_wrong": 2},
    "simulation": {"num_top": 2, "num_quantile": 0, "num_negative": 1},
}

NOTHING_ELSE = {"detection": None, "simulation": None}


@pytest.mark.parametrize("number", range(len(RULES)), ids=[rule.true for rule in RULES])
def test_planted_features_fire_by_their_rule(number) -> None:
    rule = RULES[number]
    planted = plant(rule, number, 3, seed=0)
    assert [item.kind for item in planted].count("negative") == 3 * len(FIRING)
    for item in planted:
        words = [token.strip() for token in item.tokens]
        expected = [rule.fires(words, index) for index in range(len(words))]
        assert list(item.activations_C > 0) == expected
        assert any(expected) == (item.kind != "negative")
    assert len({item.doc_id for item in planted}) == len(planted)


def test_there_are_enough_rules_of_every_kind() -> None:
    assert all(sum(rule.kind == kind for rule in RULES) >= 4 for kind in RULE_KINDS)
    assert all(len({rule.true, rule.near, rule.far}) == 3 for rule in RULES)


def knows(llm: ScriptedLlm, monkeypatch) -> None:
    """Let the server judge by the true description of whichever planted feature it is."""
    by_text = {rule.true: rule for rule in RULES}

    def rule_of(said: str) -> Rule | None:
        return by_text.get(said)

    def applies(said: str, words: list[str]) -> bool:
        rule, pieces = rule_of(said), PIECE.findall(" ".join(words).replace("«", "").replace("»", ""))
        return rule is not None and any(rule.fires(pieces, index) for index in range(len(pieces)))

    def level(said: str, word: str) -> str:
        rule = rule_of(said)
        return "9" if rule is not None and word and rule.fires([word], 0) else "0"

    monkeypatch.setattr(llm, "applies", applies)
    monkeypatch.setattr(llm, "level", level)


def test_a_scorer_that_knows_the_rules_is_qualified(scripted_llm, label_spec, monkeypatch) -> None:
    knows(scripted_llm, monkeypatch)
    spec = label_spec(**{"detection": SECTIONS["detection"], "simulation": SECTIONS["simulation"]})
    found = {record.score_type: record for record in qualify(spec)}
    detection, simulation = found["detection"], found["simulation"]
    assert detection.qualified
    assert detection.overall.auroc.value > 0.95
    assert detection.by_kind["topic"].win_rate.value == 1.0
    assert detection.overall.lift.low > 0.3
    assert simulation.qualified
    assert simulation.by_kind["topic"].win_rate.value == 1.0
    # The scripted simulator looks at one word at a time: what depends on its neighbours is out of its reach.
    assert simulation.by_kind["position"].win_rate.value == 0.0
    num_requests = len(scripted_llm.requests)
    assert list(found) == ["detection", "detection_auroc", "simulation"]
    assert qualify(spec) == list(found.values())
    assert len(scripted_llm.requests) == num_requests


def test_of_generation_and_steering_the_writer_and_the_judge_are_tried(
    scripted_llm, label_spec, monkeypatch
) -> None:
    """No subject is there: planted features fire by their rules."""
    knows(scripted_llm, monkeypatch)
    texts = {rule.true: [item.text for item in plant(rule, 99, 2, seed=1)][:6] for rule in RULES}

    def writes(asked: str, seed: int) -> str | None:
        described = asked.rpartition("Described: ")[2]
        known = texts.get(described, []) if "that show" in asked else []
        lines = known[seed % 3 :][:2] or [f"{seed} of 1 of it", f"and {seed} of 1"]
        return "\n".join(f"{index}. {text}" for index, text in enumerate(lines))

    monkeypatch.setattr(scripted_llm, "says", writes)
    sections = {
        "generation": {"model": "/nowhere", "num_requests": 2, "texts_per_request": 2},
        "steering": {"model": "/nowhere", "num_prompts": 3, "prompts": ["I think", "It is", "We are"]},
        "qualification": {"num_texts": 3},
    }
    found = {record.score_type: record for record in qualify(label_spec(**NOTHING_ELSE, **sections))}
    assert set(found) == {"generation", "steering", "steering_auroc"}
    for record in found.values():
        assert record.qualified
        assert record.overall.auroc.value > 0.9


def test_a_scorer_that_knows_nothing_is_marked_in_every_output(
    planted_store, scripted_llm, label_spec
) -> None:
    spec = label_spec(
        features={"selection": sorted(LATENTS)}, detection=SECTIONS["detection"], simulation=None
    )
    untried = label(spec)
    assert untried.qualified == {"detection": None, "detection_auroc": None}
    assert {row["qualified"] for row in read_rows(planted_store, untried.scores)} == {None}

    record = qualify(spec)[0]  # its rules are other ones: it knows two of the descriptions
    assert not record.qualified
    assert record.overall.win_rate.value < 0.1
    num_requests = len(scripted_llm.requests)
    marked = label(spec)
    assert marked.run_id != untried.run_id
    assert len(scripted_llm.requests) <= num_requests + 1  # the probe: all answers are stored
    assert marked.qualified == {"detection": False, "detection_auroc": False}
    rows = read_rows(planted_store, marked.scores)
    assert {(row["state"], row["qualified"]) for row in rows} == {("unqualified", False)}
    assert all(row["value"] is not None for row in rows)


def test_a_judge_that_leans_to_yes_is_told_by_the_order_of_its_answers(
    planted_store, scripted_llm, label_spec, monkeypatch
) -> None:
    """It says yes to all, with more certainty where it is right: chance by the one, perfect by the other."""
    knows(scripted_llm, monkeypatch)
    says = scripted_llm.expects

    def leans(prompt: str) -> dict[str, float]:
        said = says(prompt)
        return {" Yes": math.log(0.6 + 0.1 * math.exp(said[" Yes"])), " No": math.log(0.3)}

    monkeypatch.setattr(scripted_llm, "expects", leans)
    spec = label_spec(
        features={"selection": sorted(LATENTS)}, detection=SECTIONS["detection"], simulation=None
    )
    by_answer, by_order = qualify(spec)
    assert (by_answer.score_type, by_order.score_type) == ("detection", "detection_auroc")
    assert not by_answer.qualified
    assert by_answer.overall.auroc.value == 0.5
    assert by_order.qualified
    assert by_order.overall.auroc.value > 0.95
    rows = read_rows(planted_store, label(spec).scores)
    assert {(row["score_type"], row["qualified"]) for row in rows} == {
        ("detection", False),
        ("detection_auroc", True),
    }
    assert {row["state"] for row in rows if row["score_type"] == "detection_auroc"} == {"ok"}


def test_the_table_says_so(scripted_llm, label_spec, tmp_path) -> None:
    spec = label_spec(detection=SECTIONS["detection"], simulation=None)
    file = tmp_path / "label.yaml"
    file.write_text(spec.model_dump_json())
    lines = list(qualification_lines(str(file), []))
    assert lines[0] == "detection by scripted (unstated): NOT qualified"
    first = [re.split(r"\s+", line.strip())[0] for line in lines]
    table = ["features", "all", *RULE_KINDS, "near", "far"]
    assert first == ["detection", *table, "detection_auroc", *table]


def test_separation_by_hand() -> None:
    """True 0.9 and 0.4 against false 0.5, 0.1 and undefined, 0.6: of eight pairs six are won."""
    tried = [Tried(0.9, (0.5, 0.1), 0.6), Tried(0.4, (None, 0.6), -0.2)]
    found = separation(tried, BootstrapSpec(num_resamples=200), seed=0)
    assert found.auroc.value == pytest.approx(6 / 8)
    assert found.win_rate.value == pytest.approx(3 / 4)
    assert found.lift.value == pytest.approx(0.2)
    assert found.auroc.low < 0.75 < found.auroc.high


def test_undefined_scores_win_nothing() -> None:
    found = separation([Tried(None, (None,), None)] * 4, BootstrapSpec(num_resamples=200), seed=0)
    assert (found.win_rate.value, found.auroc.value, found.lift.value) == (0.0, 0.5, None)


def test_plants_are_exemplars() -> None:
    item = plant(RULES[0], 0, 2, seed=1)[0]
    assert isinstance(item, Exemplar)
    assert item.activations_C.dtype == np.float32


def test_each_number_of_texts_a_prompt_is_qualified_for_itself(scripted_llm, label_spec) -> None:
    specs = [
        label_spec(detection=SECTIONS["detection"] | {"contexts_per_prompt": size}, simulation=None)
        for size in (1, 2, 3)
    ]
    qualify(specs[1])
    found = [find_qualifications(open_store(spec.root), spec)["detection"] for spec in specs]
    assert found[0] is found[2] is None
    assert found[1] is not None
    assert len({identity.prompt_sha256 for spec in specs for identity in judges(spec).values()}) == 3
