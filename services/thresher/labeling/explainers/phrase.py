"""From a model's answer to a label. Answers are untrusted text."""

import json
import re
import unicodedata
from dataclasses import dataclass

from thresher.contracts.states import State
from thresher.labeling.shown_text import PLAIN_QUOTES

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
WRAPPING, QUOTES = "`«»* ", "\"'"
LABEL_LINE = re.compile(r"^\W*label\W*:(.*)$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class Phrase:
    """A label's text, or the state that stands in its place and, if asking again may help, what is wrong."""

    state: State
    text: str | None
    fault: str | None = None


def unparsable(fault: str) -> Phrase:
    return Phrase(State.UNPARSABLE, None, fault)


def parse_phrase(answer: str) -> Phrase:
    """The first line that says something, without wrapping, control characters and mark-up around it."""
    visible = "".join(
        char if char == "\n" or unicodedata.category(char)[0] != "C" else " " for char in answer
    )
    for line in visible.translate(PLAIN_QUOTES).split("\n"):
        spoken = PREFIX.sub("", " ".join(line.split()))
        if REFUSAL.match(spoken):
            return Phrase(State.REFUSED, None)
        text = _unwrapped(spoken)
        if any(char.isalnum() for char in text):
            if len(text) <= MAX_CHARACTERS:
                return Phrase(State.OK, text)
            return unparsable(f"It is longer than {MAX_CHARACTERS} characters.")
    return unparsable("It holds no words.")


def _unwrapped(text: str) -> str:
    """Without mark-up around it, and without quotes that embrace it whole or have no partner."""
    while text := text.strip(WRAPPING):
        first, last = text[0], text[-1]
        if first in QUOTES and (first == last or text.count(first) == 1):
            text = text[1:-1] if first == last else text[1:]
        elif last in QUOTES and text.count(last) == 1:
            text = text[:-1]
        else:
            break
    return text


def parse_json_phrase(answer: str) -> Phrase:
    """The label of a JSON object, which may stand in a code fence or among other words."""
    start, stop = answer.find("{"), answer.rfind("}")
    try:
        found = json.loads(answer[start : stop + 1]) if start >= 0 else None
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and isinstance(found.get("label"), str):
        return parse_phrase(found["label"])
    if REFUSAL.match(" ".join(answer.translate(PLAIN_QUOTES).split())):
        return Phrase(State.REFUSED, None)
    return unparsable('It is no JSON object with a text under "label".')


def parse_labelled_line(answer: str) -> Phrase:
    """What stands behind the last `Label:`; all before it is thinking."""
    found: list[str] = LABEL_LINE.findall(answer)
    if found:
        return parse_phrase(found[-1])
    if REFUSAL.match(" ".join(answer.translate(PLAIN_QUOTES).split())):
        return Phrase(State.REFUSED, None)
    return unparsable('It has no line that starts with "Label:".')
