"""Fuzzing: some words of a firing text are marked; does the scorer say that they are what the label describes?

The marked words are those on which the feature fires, or as many others of a text in which it fires elsewhere: a label
that is right about the text and wrong about the place does not pass.
Source: Paulo et al. (2024), section 3.3; theirs marks words of texts in which the feature is silent, which detection
already tells apart.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from thresher.contracts.exemplars import ExemplarKind
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.first_token import FirstTokenQuestion, load_wording
from thresher.labeling.scorers.observations import Observations
from thresher.labeling.scorers.reading import Reading, Sampling, Trial, single_trials, verdict
from thresher.labeling.scorers.scorer import ask_all
from thresher.labeling.scorers.spec import FuzzingSpec
from thresher.labeling.scorers.statistics import yes_or_no
from thresher.labeling.scorers.yes_no import yes_share
from thresher.labeling.shown_text import LOOKALIKES, one_line

WORDING = load_wording("fuzzing-v1", "fuzzing-chat-v1")


class FuzzingScorer:
    """Scores labels by fuzzing."""

    name = "fuzzing"
    uses_label = True

    def __init__(
        self, spec: FuzzingSpec, tokenizer: PromptTokenizer, exchange: Exchange, sampling: Sampling
    ) -> None:
        self._spec, self._exchange, self._sampling = spec, exchange, sampling
        self.prompt_sha256 = WORDING.of(spec.form).sha256
        self._question = FirstTokenQuestion(spec, WORDING, tokenizer, exchange.endpoint, self.name)

    @property
    def endpoint(self) -> EndpointSpec:
        return self._exchange.endpoint

    def trials(self, feature: int, exemplars: Sequence[Exemplar]) -> list[Trial]:
        """Texts in which it fires on some words and not on others, from both ends of the scale."""
        count = self._spec.num_right + self._spec.num_wrong
        counts: list[tuple[ExemplarKind, int]] = [("top", (count + 1) // 2), ("quantile", count // 2)]
        mixed = [
            item for item in exemplars if 0 < np.count_nonzero(item.activations_C > 0) < len(item.tokens)
        ]
        found = single_trials(feature, mixed, counts, self._sampling, self._spec.tokens_per_context)
        return [trial for trial in found if np.any(trial.contexts[0].activations_C <= 0)]

    def requests(self, label: str, trials: Sequence[Trial]) -> list[ModelRequest]:
        return [self._request(label, trial) for trial in trials]

    async def observe(self, label: str, trials: Sequence[Trial]) -> list[Reading]:
        answers = await ask_all(self._exchange, self.requests(label, trials))
        return [
            verdict(trial, self._is_right(trial), yes_share(self._question.read(answer)))
            for trial, answer in zip(trials, answers, strict=True)
        ]

    def measures(self, readings: Sequence[Reading]) -> Mapping[str, Observations]:
        return yes_or_no(self.name, readings)

    def _request(self, label: str, trial: Trial) -> ModelRequest:
        context = trial.contexts[0]
        fires_C = context.activations_C > 0
        marked_C = fires_C if self._is_right(trial) else self._others(context, fires_C)
        text = one_line(marked_words(context.tokens, marked_C))
        return self._question.request(label=one_line(label), context=text)

    def _is_right(self, trial: Trial) -> bool:
        share = self._spec.num_right / (self._spec.num_right + self._spec.num_wrong)
        return int((trial.number + 1) * share) > int(trial.number * share)

    def _others(self, context: Exemplar, fires_C: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """As many places where it does not fire, if there are so many; words rather than spaces and marks."""
        words_C = np.array([any(char.isalnum() for char in token) for token in context.tokens])
        silent = np.flatnonzero(~fires_C & words_C)
        if not len(silent):
            silent = np.flatnonzero(~fires_C)
        generator = np.random.default_rng([self._sampling.seed, context.sequence, context.start])
        chosen = generator.choice(silent, min(len(silent), int(fires_C.sum())), replace=False)
        marked_C = np.zeros_like(fires_C)
        marked_C[chosen] = True
        return marked_C


def marked_words(tokens: Sequence[str], marked_C: npt.NDArray[np.bool_]) -> str:
    """One line, marked tokens in guillemets."""
    pieces = []
    for token, marked in zip((token.translate(LOOKALIKES) for token in tokens), marked_C, strict=True):
        word = token.strip()
        pieces.append(token.replace(word, f"«{word}»", 1) if marked and word else token)
    return " ".join("".join(pieces).split())
