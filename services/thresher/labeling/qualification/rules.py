"""Planted features: on which tokens each fires, what is true of it, and what is not.

A rule's near description is of the same sort as the true one, and false; its far one is of another sort.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from thresher.labeling.qualification.lexicon import WORDS

RuleKind = Literal["token", "regex", "topic", "position"]
RULE_KINDS: tuple[RuleKind, ...] = get_args(RuleKind)
Fires = Callable[[Sequence[str], int], bool]
"""Whether the feature fires on the token at a position; tokens are words, in lower or upper case, without spaces."""


@dataclass(frozen=True)
class Rule:
    """A feature that is known because it was made up."""

    kind: RuleKind
    true: str
    near: str
    far: str
    fires: Fires


def _is(word: str) -> Fires:
    return lambda tokens, index: tokens[index].lower() == word


def _one_of(topic: str) -> Fires:
    return lambda tokens, index: tokens[index] in WORDS[topic]


def _matches(pattern: str) -> Fires:
    compiled = re.compile(pattern)
    return lambda tokens, index: compiled.fullmatch(tokens[index]) is not None


def _after(pattern: str) -> Fires:
    matches = _matches(pattern)
    return lambda tokens, index: index > 0 and matches(tokens, index - 1)


def _before(pattern: str) -> Fires:
    matches = _matches(pattern)
    return lambda tokens, index: index + 1 < len(tokens) and matches(tokens, index + 1)


RULES: tuple[Rule, ...] = (
    Rule("token", 'the word "because"', 'the word "although"', "names of animals", _is("because")),
    Rule("token", 'the word "with"', 'the word "without"', "numbers written in digits", _is("with")),
    Rule("token", 'the word "very"', 'the word "quite"', "words about the sea", _is("very")),
    Rule("token", 'the word "from"', 'the word "until"', "names of colours", _is("from")),
    Rule("regex", "numbers written in digits", "numbers written as words", "food", _matches(r"\d+")),
    Rule(
        "regex",
        'words that end in "ing"',
        'words that end in "ness"',
        "parts of the body",
        _matches(r"\w+ing"),
    ),
    Rule(
        "regex",
        "words that begin with a capital letter",
        "words written in capitals throughout",
        'the word "very"',
        _matches(r"[A-Z]\w*"),
    ),
    Rule(
        "regex",
        'words that begin with the letter "b"',
        'words that begin with the letter "k"',
        "numbers written in digits",
        _matches(r"b\w+"),
    ),
    Rule("topic", "names of animals", "names of plants", 'the word "because"', _one_of("animal")),
    Rule("topic", "food", "clothes", "numbers written in digits", _one_of("food")),
    Rule("topic", "words about the sea", "words about mountains", 'the word "with"', _one_of("sea")),
    Rule("topic", "names of colours", "names of shapes", "members of a family", _one_of("colour")),
    Rule("topic", "parts of the body", "illnesses", 'words that end in "ing"', _one_of("body")),
    Rule("topic", "members of a family", "professions", "names of colours", _one_of("family")),
    Rule("position", "the word after a comma", "the word after a colon", "names of animals", _after(",")),
    Rule("position", "the last word of a question", "the last word of a shout", "food", _before(r"\?")),
    Rule("position", "the word after a number", "the word after a name", "parts of the body", _after(r"\d+")),
    Rule(
        "position",
        'the word after "very"',
        'the word after "quite"',
        "members of a family",
        _after("very"),
    ),
)
