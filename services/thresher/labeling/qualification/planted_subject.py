"""In place of a subject model: planted features fire by their rules, and are steered without fail.

What is tried is then the model that writes or judges, and nothing of a dictionary.
"""

from collections.abc import Sequence
from functools import cache

from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.qualification.planted import FIRING, PIECE, plant
from thresher.labeling.qualification.rules import RULES
from thresher.labeling.scorers.spec import GenerationSpec, SteeringSpec


class PlantedSubjects:
    """Of the planted features, by their number.

    Args:
        num_texts, seed: as the exemplars are planted with.
    """

    def __init__(self, num_texts: int, seed: int) -> None:
        self._num_texts, self._seed = num_texts, seed

    def firing(self, spec: GenerationSpec) -> "PlantedFiring":
        return PlantedFiring()

    def continuing(self, spec: SteeringSpec) -> "PlantedContinuing":
        num_each = -(-len(spec.prompts) // len(FIRING))
        return PlantedContinuing(max(self._num_texts, num_each), self._seed)


class PlantedFiring:
    """Fires on a text, with activation 1, if the rule does on any of its words."""

    def requests(self, feature: int, texts: Sequence[str]) -> list[ModelRequest]:
        return []

    async def largest(self, feature: int, texts: Sequence[str]) -> list[float | None]:
        return [float(_fires(feature, PIECE.findall(text))) for text in texts]


class PlantedContinuing:
    """Texts in which the rule fires in place of steered ones, and texts in which it does not."""

    def __init__(self, num_texts: int, seed: int) -> None:
        self._num_texts, self._seed = num_texts, seed

    def requests(self, feature: int, number: int, prompt: str) -> list[ModelRequest]:
        return []

    async def pair(self, feature: int, number: int, prompt: str) -> tuple[str, str]:
        firing, silent = _texts(feature, self._num_texts, self._seed)
        return firing[number], silent[number]


def _fires(feature: int, words: Sequence[str]) -> bool:
    return any(RULES[feature].fires(words, index) for index in range(len(words)))


@cache
def _texts(feature: int, num_texts: int, seed: int) -> tuple[list[str], list[str]]:
    exemplars = plant(RULES[feature], feature, num_texts, seed)
    return [_text(item) for item in exemplars if item.kind != "negative"], [
        _text(item) for item in exemplars if item.kind == "negative"
    ]


def _text(exemplar: Exemplar) -> str:
    return exemplar.text.strip()
