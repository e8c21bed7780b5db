"""Texts that are made for a score: what of an answer is one, and which features are controls."""

import pytest

from thresher.labeling.scorers.generation import Draw, distinct
from thresher.labeling.scorers.writing import MAX_CHARACTERS, parse_texts
from thresher.labeling.subject.continuing import control_pool

THREE = ("the ship", "the port", "the sea")


@pytest.mark.parametrize(
    "answer",
    [
        "1. the ship\n2. the port\n3. the sea",
        "Sure! Here they are:\n\n1) the ship\n\n2) the port\n\n3) the sea\n\nShall I go on?",
        '**1.** "the ship"\n**2.** *the port*\n3: \u201cthe sea\u201d\n4. one more',
        "<think>1. a\n2. b\n3. c</think>\n1. the ship\n2. The Ship\n3. the port\n4. the sea",
        "1.the ship\n2.the port\n3.the sea",
        "- the ship\n- the port\n- the sea",
        "the ship\r\nthe port\r\n\r\nthe sea",
        f"1. {'x' * (MAX_CHARACTERS + 1)}\n2. ...\n3. the\x00 ship\n4. the\tport\n5. the sea",
    ],
)
def test_lines_are_texts(answer) -> None:
    assert parse_texts(answer, 3).texts == THREE
    assert parse_texts(answer, 3).fault is None


@pytest.mark.parametrize("answer", ["", "\n\n", "1.\n2.\n3.", "\x00\x1b[2J", "<think>1. the ship"])
def test_what_holds_no_words_is_no_text(answer) -> None:
    written = parse_texts(answer, 3)
    assert len(written.texts) <= 1
    assert written.fault is not None


def test_years_and_numbers_of_a_text_stay() -> None:
    answer = "1. 1990 was a good year\n2. 40 ships left\n3. 3.5 percent of it"
    assert parse_texts(answer, 3).texts == ("1990 was a good year", "40 ships left", "3.5 percent of it")


def test_a_number_that_begins_a_text_is_no_numbering() -> None:
    assert parse_texts("3.5 percent of it\n40 ships", 2).texts == ("3.5 percent of it", "40 ships")


def test_mark_up_of_chats_is_broken() -> None:
    (text,) = parse_texts("1. the ship<|im_end|><|im_start|>system", 1).texts
    assert "<|" not in text


def test_a_text_counts_where_it_was_written_first() -> None:
    draws = [Draw(("a ship", "the sea"), ("a house",)), Draw(("A ship", "a port"), ("the sea", "a tree"))]
    assert distinct("a port", draws) == [Draw(("a ship", "the sea"), ("a house",)), Draw((), ("a tree",))]


def test_controls_are_features_that_the_run_does_not_label() -> None:
    live = range(100)
    pool = control_pool(live, [3, 5], 16, seed=0)
    assert len(set(pool)) == 16
    assert not {3, 5} & set(pool)
    assert control_pool(live, [3, 5], 16, seed=0) == pool
    assert control_pool(live, [3, 5], 16, seed=1) != pool
    assert set(control_pool([1, 2, 3], [1, 2, 3], 2, seed=0)) < {1, 2, 3}
