"""Texts in which a planted feature fires or does not, as exemplars of a features artifact are."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thresher.contracts.exemplars import ExemplarKind
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.qualification.lexicon import TEMPLATES, WORDS
from thresher.labeling.qualification.rules import Rule

PLACE, PIECE = re.compile(r"\{(\w+)\}"), re.compile(r"\w+|[^\w\s]")
SENTENCES_PER_TEXT = 3
FIRING: tuple[ExemplarKind, ...] = ("top", "quantile", "random")
MAX_DRAWS = 4000


@dataclass(frozen=True)
class PlantedText:
    """Words and marks, without the spaces between them."""

    words: tuple[str, ...]

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(word if re.fullmatch(r"[^\w\s]", word) else f" {word}" for word in self.words)


def draw_text(generator: np.random.Generator) -> PlantedText:
    """A few sentences that have nothing to do with one another."""
    chosen = generator.choice(len(TEMPLATES), SENTENCES_PER_TEXT, replace=False)
    text = " ".join(
        PLACE.sub(lambda place: str(generator.choice(WORDS[place[1]])), TEMPLATES[index]) for index in chosen
    )
    return PlantedText(tuple(PIECE.findall(text)))


def plant(rule: Rule, number: int, num_each: int, seed: int) -> list[Exemplar]:
    """`num_each` exemplars of each firing kind, and three times as many in which the feature is silent."""
    generator = np.random.default_rng([seed, number])
    wanted = {True: len(FIRING) * num_each, False: len(FIRING) * num_each}
    found: dict[bool, list[Exemplar]] = {True: [], False: []}
    for index in range(MAX_DRAWS):
        if all(len(found[fires]) == count for fires, count in wanted.items()):
            break
        text = draw_text(generator)
        activations = _activations(rule, text.words, generator)
        fires = bool(activations.any())
        if len(found[fires]) < wanted[fires]:
            rank = len(found[fires])
            kind: ExemplarKind = FIRING[rank % len(FIRING)] if fires else "negative"
            found[fires].append(
                Exemplar(kind, rank, None, f"planted {number}.{index}", index, 0, text.tokens, activations)
            )
    assert all(len(found[fires]) == count for fires, count in wanted.items()), rule.true
    return found[True] + found[False]


def _activations(
    rule: Rule, words: Sequence[str], generator: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    fires = np.array([rule.fires(words, index) for index in range(len(words))])
    return np.where(fires, generator.uniform(0.6, 1.0, len(words)), 0.0).astype(np.float32)
