"""What counts as the same label, and as a similar one."""

import numpy as np
import pytest

from thresher.labeling.families.text_similarity import TextSimilarity
from thresher.labeling.families.texts import normalised


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Names of countries", "the names of Countries."),
        ("digits in dates", "Digit in date"),
        ("the word \u201cdog\u201d", "word: dog"),
        ("ﬁsh", "fish"),  # a ligature
        ("class names", "class name"),
    ],
)
def test_one_normal_form(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"), [("digits", "dates"), ("the", "of"), ("glass", "gla"), ("C++", "D++"), ("", "the")]
)
def test_other_labels_stay_others(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def similarity(one: str, other: str) -> float:
    forms = [normalised(text) for text in (one, other, "words of the sea", "verbs in the past tense")]
    return float(TextSimilarity(forms).of(np.array([0]), np.array([1]))[0])


def test_similarity_orders_pairs_as_a_reader_would() -> None:
    same = similarity("names of countries", "country names")
    near = similarity("names of countries", "names of European countries")
    far = similarity("names of countries", "opening brackets in code")
    assert same == 1.0
    assert 0.6 <= near < 1.0
    assert far < 0.2


def test_texts_without_a_letter_are_near_themselves_alone() -> None:
    texts = TextSimilarity([normalised(text) for text in ("!!!", "digits")])
    near = texts.near(0.5, 8, 4).toarray()
    assert near.tolist() == [[1, 0], [0, 1]]
    nothing = TextSimilarity([normalised("!!!")])
    assert nothing.near(0.5, 8, 4).toarray().tolist() == [[1]]
