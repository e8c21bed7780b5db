import pytest
from hypothesis import given
from hypothesis import strategies as st

from thresher.contracts.states import State
from thresher.labeling.explainers.phrase import MAX_CHARACTERS, parse_phrase


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("words about the sea", "words about the sea"),
        ("\n\n  Phrase: “words about the sea”\nSecond line", "words about the sea"),
        ("The label = `verbs`", "verbs"),
        ("The marked words have a common thread: names of colours", "names of colours"),
        ("The marked words are names of colours", "names of colours"),
        ("- **names of colours**", "names of colours"),
        ("a\x00b\x1b[31m c", "a b [31m c"),
        ("right\N{RIGHT-TO-LEFT OVERRIDE}left", "right left"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),  # kept as text: the page escapes it
        ('the words "I\'m sorry"', 'the words "I\'m sorry"'),
        ("'the word \"the\"'", 'the word "the"'),
        ('"the sea', "the sea"),
        ("数字", "数字"),
    ],
)
def test_reads_the_phrase(answer: str, text: str) -> None:
    assert (parse_phrase(answer).state, parse_phrase(answer).text) == (State.OK, text)


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help.",
        "I cannot say.",
        "I\N{RIGHT SINGLE QUOTATION MARK}m unable to",
        "As an AI, I",
    ],
)
def test_refusals_are_no_labels(answer: str) -> None:
    assert parse_phrase(answer).state == State.REFUSED


@pytest.mark.parametrize("answer", ["", " \n\t", "«»", "...", "Phrase:", "x" * (MAX_CHARACTERS + 1)])
def test_nothing_usable_is_unparsable(answer: str) -> None:
    assert (parse_phrase(answer).state, parse_phrase(answer).text) == (State.UNPARSABLE, None)


@given(st.text())
def test_any_text_parses_to_one_clean_line(answer: str) -> None:
    phrase = parse_phrase(answer)
    assert (phrase.text is None) == (phrase.state != State.OK)
    if phrase.text is not None:
        assert phrase.text == " ".join(phrase.text.split())
        assert 0 < len(phrase.text) <= MAX_CHARACTERS
        assert phrase.text.isprintable()
