"""Simulation scoring, all tokens at once.

A simulator reads the label and the tokens, with `unknown` in the place of every activation, and is asked what it
would have expected in that place. Its expected value over the levels is the predicted activation; the score is the
correlation of predicted and true activations, pooled over the tokens of all contexts.
Source: Bills et al., Language models can explain neurons in language models (OpenAI, 2023), sections "Simulate" and
"Score", and the appendix on simulating all tokens at once.

Shapes: N tokens of all contexts.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from thresher.contracts.exemplars import ExemplarKind
from thresher.labeling.endpoints.completions import prompt_logprobs_request, read_prompt_logprobs
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer, PromptTokens
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.exemplars.book import Exemplar
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.observations import Observations, correlation
from thresher.labeling.scorers.reading import FloatArray, Reading, Sampling, Trial, single_trials
from thresher.labeling.scorers.scorer import ask_all
from thresher.labeling.scorers.spec import SimulationSpec
from thresher.labeling.templates import load_template

TEMPLATE = load_template("simulation-v1")
UNKNOWN = "unknown"
EXAMPLE_MAX_LEVEL = 9
ESCAPES = str.maketrans({"\n": "\\n", "\r": "\\r", "\t": "\\t"})


@dataclass(frozen=True)
class Predictions:
    """For each token asked about: the expected level, NaN without any digit, and the probability on digits."""

    level_N: FloatArray
    mass_N: FloatArray


class SimulationScorer:
    """Scores labels by simulation."""

    name = "simulation"
    prompt_sha256 = TEMPLATE.sha256

    def __init__(
        self, spec: SimulationSpec, tokenizer: PromptTokenizer, exchange: Exchange, sampling: Sampling
    ) -> None:
        self._spec, self._tokenizer, self._exchange, self._sampling = spec, tokenizer, exchange, sampling
        self._level_tokens = tokenizer.level_tokens()

    @property
    def endpoint(self) -> EndpointSpec:
        return self._exchange.endpoint

    def trials(self, feature: int, exemplars: Sequence[Exemplar]) -> list[Trial]:
        counts: list[tuple[ExemplarKind, int]] = [
            ("top", self._spec.num_top),
            ("quantile", self._spec.num_quantile),
            ("negative", self._spec.num_negative),
        ]
        return single_trials(feature, exemplars, counts, self._sampling, self._spec.tokens_per_context)

    def requests(self, label: str, trials: Sequence[Trial]) -> list[ModelRequest]:
        contexts, size = [trial.contexts[0] for trial in trials], self._spec.contexts_per_prompt
        prompts = [
            self.prompt(label, contexts[start : start + size]) for start in range(0, len(contexts), size)
        ]
        return [
            prompt_logprobs_request(self._exchange.endpoint, prompt, self._spec.num_logprobs)
            for prompt in prompts
        ]

    async def observe(self, label: str, trials: Sequence[Trial]) -> list[Reading]:
        requests = self.requests(label, trials)
        answers = await ask_all(self._exchange, requests)
        entries = [
            read_prompt_logprobs(answer.choice, position)
            for request, answer in zip(requests, answers, strict=True)
            for position in request.read_positions
        ]
        left = iter(entries)
        return [
            _reading(trial, predict(list(islice(left, len(trial.contexts[0].tokens))), self._level_tokens))
            for trial in trials
        ]

    def measures(self, readings: Sequence[Reading]) -> Mapping[str, Observations]:
        return {self.name: correlation(readings)}

    def prompt(self, label: str, contexts: Iterable[Exemplar]) -> PromptTokens:
        """The examples, the label, then one `token⇥unknown` line a token; each `unknown` is marked.

        Every line is tokenised in the same pieces, so that digits follow the tab exactly as they do in the examples.
        """
        max_level = max(self._level_tokens.values())
        prompt = self._tokenizer.start()
        for line in TEMPLATE.fill(max_level=str(max_level), label=" ".join(label.split())).split("\n"):
            token, tab, level = line.partition("\t")
            known = [str(round(int(level) * max_level / EXAMPLE_MAX_LEVEL))] if tab else []
            self._tokenizer.add(prompt, [piece for piece in (token, tab, *known, "\n") if piece])
        for context in contexts:
            self._tokenizer.add(prompt, ["<start>", "\n"])
            for token in context.tokens:
                self._tokenizer.add(prompt, [token.translate(ESCAPES), "\t"])
                self._tokenizer.mark(prompt, UNKNOWN)
                self._tokenizer.add(prompt, ["\n"])
            self._tokenizer.add(prompt, ["<end>", "\n"])
        return prompt


def _reading(trial: Trial, predictions: Predictions) -> Reading:
    context = trial.contexts[0]
    return Reading(
        trial.document,
        context.activations_C.astype(np.float64),
        predictions.level_N,
        context.kind,
        float(predictions.mass_N.mean()),
    )


def predict(entries: Sequence[dict[int, float]], level_tokens: dict[int, int]) -> Predictions:
    """Expected level at each position, over the digits that are among its most likely tokens."""
    levels, masses = [], []
    for logprob_by_token in entries:
        probability_by_level = {
            level: math.exp(logprob_by_token[token])
            for token, level in level_tokens.items()
            if token in logprob_by_token
        }
        mass = sum(probability_by_level.values())
        expected = sum(level * probability for level, probability in probability_by_level.items())
        levels.append(expected / mass if mass > 0 else math.nan)
        masses.append(mass)
    return Predictions(np.asarray(levels, np.float64), np.asarray(masses, np.float64))
