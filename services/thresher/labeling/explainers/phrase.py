"""From a model's answer to a label. Answers are untrusted text."""

import re
import unicodedata
from dataclasses import dataclass

from thresher.contracts.states import State

MAX_CHARACTERS = 200
PREFIX = re.compile(
    r"^(?:[-*•]\s+|(?:the\s+)?(?:phrase|label|answer|explanation)(?:\s+is\s*:?|\s*[:=])\s*"
    r"|the marked words (?:all )?(?:are|have|share)\s+(?:a common \w+(?: of|:)\s+)?)+",
    re.IGNORECASE,
)
REFUSAL = re.compile(
    r"(?:i'm sorry|i am sorry|i can(?:no|')t|i can not|i(?:'m| am) (?:not able|unable)|as an ai\b)",
    re.IGNORECASE,
)
PLAIN_QUOTES = str.maketrans(
    {
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    }
)
WRAPPING = "\"'`«»* "


@dataclass(frozen=True)
class Phrase:
    """A label's text, or the state that stands in its place."""

    state: State
    text: str | None


def parse_phrase(answer: str) -> Phrase:
    """The first line that says something, without wrapping, control characters and mark-up around it."""
    visible = "".join(
        char if char == "\n" or unicodedata.category(char)[0] != "C" else " " for char in answer
    )
    for line in visible.translate(PLAIN_QUOTES).split("\n"):
        spoken = PREFIX.sub("", " ".join(line.split()))
        if REFUSAL.match(spoken):
            return Phrase(State.REFUSED, None)
        text = spoken.strip(WRAPPING)
        if any(char.isalnum() for char in text):
            return Phrase(State.OK, text) if len(text) <= MAX_CHARACTERS else Phrase(State.UNPARSABLE, None)
    return Phrase(State.UNPARSABLE, None)
