"""Intruder: which of five texts does not belong with the others? In four the feature fires, in one it does not.

With the label shown, it says how well the label picks out the feature's texts. Without, no label is judged but the
feature: whether its texts have something in common that the scorer can see.
Source: Paulo et al. (2024), section 3.3, after Chang et al., Reading Tea Leaves (2009).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from thresher.contracts.exemplars import FIRING_KINDS, HARD_NEGATIVE_KINDS, SILENT_KINDS, ExemplarKind
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.exemplars.contexts import choose_kinds
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.first_token import FirstTokenQuestion, load_wording
from thresher.labeling.scorers.observations import Observations
from thresher.labeling.scorers.reading import Reading, Sampling, Trial, verdict
from thresher.labeling.scorers.scorer import ask_all
from thresher.labeling.scorers.spec import IntruderSpec
from thresher.labeling.scorers.statistics import accuracy
from thresher.labeling.shown_text import one_line

LABELLED = load_wording("intruder-v2", "intruder-chat-v1")
BLIND = load_wording("intruder-blind-v2", "intruder-blind-chat-v1")
NUM_TEXTS = 5
LETTERS = "ABCDE"  # a digit after a space is two tokens for some tokenizers, a letter is one


class IntruderScorer:
    """Scores labels, or with `blind` the feature itself; chance is 0.2."""

    def __init__(
        self,
        spec: IntruderSpec,
        tokenizer: PromptTokenizer,
        exchange: Exchange,
        sampling: Sampling,
        *,
        blind: bool = False,
    ) -> None:
        self._spec, self._exchange, self._sampling = spec, exchange, sampling
        self.name, self.uses_label = ("intruder_blind", False) if blind else ("intruder", True)
        wording = BLIND if blind else LABELLED
        self.prompt_sha256 = wording.of(spec.form).sha256
        self._question = FirstTokenQuestion(spec, wording, tokenizer, exchange.endpoint, self.name)

    @property
    def endpoint(self) -> EndpointSpec:
        return self._exchange.endpoint

    def trials(self, feature: int, exemplars: Sequence[Exemplar]) -> list[Trial]:
        """Each of documents of its own; the intruder's place is drawn."""
        wanted = self._spec.num_trials * self._sampling.num_batches
        num_firing = wanted * (NUM_TEXTS - 1)
        hard = [kind for kind in HARD_NEGATIVE_KINDS if any(item.kind == kind for item in exemplars)]
        silent: list[ExemplarKind] = [*hard, "negative"] if self._spec.hard else ["negative"]
        share = -(-num_firing // len(FIRING_KINDS))
        counts = [*((kind, share) for kind in FIRING_KINDS), *((kind, wanted) for kind in silent)]
        found = choose_kinds(
            exemplars, counts, num_tokens=self._spec.tokens_per_context, seed=self._sampling.seed
        )
        generator = np.random.default_rng([self._sampling.seed, feature])
        firing = [item for item in found if item.kind in FIRING_KINDS]
        firing = [firing[index] for index in generator.permutation(len(firing))]
        intruders = [item for item in found if item.kind in SILENT_KINDS]
        num_trials = min(wanted, len(intruders), len(firing) // (NUM_TEXTS - 1))
        trials = []
        for number in range(num_trials):
            texts = firing[number * (NUM_TEXTS - 1) : (number + 1) * (NUM_TEXTS - 1)]
            texts.insert(int(generator.integers(NUM_TEXTS)), intruders[number])
            trials.append(Trial(feature, number // self._spec.num_trials, number, tuple(texts)))
        return trials

    def requests(self, label: str, trials: Sequence[Trial]) -> list[ModelRequest]:
        return [self._request(label, trial) for trial in trials]

    async def observe(self, label: str, trials: Sequence[Trial]) -> list[Reading]:
        answers = await ask_all(self._exchange, self.requests(label, trials))
        return [
            self._reading(trial, chosen_place(self._question.read(answer)))
            for trial, answer in zip(trials, answers, strict=True)
        ]

    def measures(self, readings: Sequence[Reading]) -> Mapping[str, Observations]:
        return {self.name: accuracy(readings)}

    def _reading(self, trial: Trial, chosen: int | None) -> Reading:
        intruder = next(index for index, context in enumerate(trial.contexts) if context.kind in SILENT_KINDS)
        return verdict(trial, True, None if chosen is None else float(chosen == intruder))

    def _request(self, label: str, trial: Trial) -> ModelRequest:
        texts = "\n".join(
            f"{LETTERS[index]}. {one_line(context.text)}" for index, context in enumerate(trial.contexts)
        )
        return self._question.request(label=one_line(label), texts=texts)


def chosen_place(logprob_by_text: Mapping[str, float]) -> int | None:
    """The place whose letter is the most probable first token, whatever its spacing; None if none is there."""
    probability: dict[int, float] = {}
    for text, logprob in logprob_by_text.items():
        word = text.strip().rstrip(".")
        if len(word) == 1 and word in LETTERS:
            place = LETTERS.index(word)
            probability[place] = probability.get(place, 0.0) + math.exp(logprob)
    return max(probability, key=lambda place: (probability[place], -place)) if probability else None
