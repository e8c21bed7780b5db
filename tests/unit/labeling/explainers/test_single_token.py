"""When the shortcut is taken, and when it is not."""

import numpy as np
import pytest

from thresher.contracts.exemplars import ExemplarKind
from thresher.labeling.exemplars.evidence import Evidence
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.explainers.single_token import SingleTokenExplainer, label_of
from thresher.labeling.explainers.spec import SingleTokenSpec


def text(kind: ExemplarKind, tokens: list[str], firing: str | None) -> Exemplar:
    activations = [float(firing is not None and token.strip().casefold() == firing) for token in tokens]
    return Exemplar(kind, 0, None, "d", 0, 0, tuple(tokens), np.array(activations, np.float32))


def evidence(*exemplars: Exemplar, split: str = "explain") -> Evidence:
    return Evidence(1, 0.1, {split: exemplars})


def labelled(found: Evidence, **changes) -> str | None:
    candidate = SingleTokenExplainer(SingleTokenSpec(**changes)).explain(found)
    return None if candidate is None else candidate.phrase.text


FIRING = [text("top", [" the", " ship", " Ship", "SHIP", " left"], "ship")] * 4


def test_one_token_in_any_case_and_spacing() -> None:
    assert labelled(evidence(*FIRING, text("negative", [" no", " boat"], None))) == 'the token "ship"'


def test_too_few_positions_decide_nothing() -> None:
    assert labelled(evidence(*FIRING[:3])) is None
    assert labelled(evidence(*FIRING[:3]), min_positions=9) == 'the token "ship"'


def test_a_second_token_above_the_share_that_may_differ() -> None:
    other = text("random", [" port"], "port")
    assert labelled(evidence(*FIRING, other)) is None  # 12 of 13
    assert labelled(evidence(*FIRING, other), min_share=0.9) == 'the token "ship"'


@pytest.mark.parametrize("kind", ["negative", "cofiring", "decoder_near", "text_near", "top"])
def test_silent_occurrences_tell_against_it_wherever_they_are(kind) -> None:
    silent = text(kind, [" ship"], None)
    assert labelled(evidence(*FIRING, silent)) is None  # 12 of 13
    assert labelled(evidence(*FIRING, silent), min_recall=0.9) == 'the token "ship"'


def test_only_the_explain_split_is_looked_at() -> None:
    assert labelled(evidence(*FIRING, split="report")) is None
    assert labelled(evidence(*FIRING, split="select")) is None


@pytest.mark.parametrize(
    ("token", "label"),
    [
        ("ship", 'the token "ship"'),
        ("\n", 'the token "\\n"'),
        ("<|im_end|>", 'the token "< |im_end|>"'),
        ("\x00\u202e", 'the token "\\x00\\u202e"'),
        ("船", 'the token "船"'),
        ('"', 'the token """'),
    ],
)
def test_labels_are_printable(token: str, label: str) -> None:
    assert label_of(token) == label
    assert label.isprintable()


def test_a_token_too_long_for_a_label_is_left_to_the_explainer() -> None:
    long = "x" * 300
    assert labelled(evidence(text("top", [long] * 12, long))) is None


def test_provenance_names_no_model_and_the_rule() -> None:
    first, second = (SingleTokenExplainer(SingleTokenSpec(min_share=share)).provenance for share in (0.9, 1))
    assert (first.method, first.model) == ("token", "none")
    assert first.decoding != second.decoding
    assert first.prompt_sha256 == second.prompt_sha256
