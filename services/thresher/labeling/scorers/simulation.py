"""Simulation scoring, all tokens at once.

A simulator reads the label and the tokens, with `unknown` in the place of every activation, and is asked what it
would have expected in that place. Its expected value over the levels is the predicted activation; the score is the
correlation of predicted and true activations, pooled over the tokens of all contexts.
Source: Bills et al., Language models can explain neurons in language models (OpenAI, 2023), sections "Simulate" and
"Score", and the appendix on simulating all tokens at once.

Shapes: N tokens of all contexts.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.contracts.exemplars import ExemplarKind
from thresher.labeling.endpoints.completions import prompt_logprobs_request, read_prompt_logprobs
from thresher.labeling.endpoints.needs import Need
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer, PromptTokens
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.exemplars.book import Exemplar, sample_sha256
from thresher.labeling.exemplars.contexts import choose_kinds
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.outcome import Outcome, outcome_of
from thresher.labeling.scorers.spec import BootstrapSpec, SimulationSpec
from thresher.labeling.scorers.statistics import pearson
from thresher.labeling.templates import load_template

TEMPLATE = load_template("simulation-v1")
UNKNOWN = "unknown"
EXAMPLE_MAX_LEVEL = 9
ESCAPES = str.maketrans({"\n": "\\n", "\r": "\\r", "\t": "\\t"})

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """For each token asked about: the expected level, NaN without any digit, and the probability on digits."""

    level_N: FloatArray
    mass_N: FloatArray


class SimulationScorer:
    """Scores labels by simulation. `score_type` names it in the scores table."""

    score_type = "simulation"
    prompt_sha256 = TEMPLATE.sha256

    def __init__(
        self,
        spec: SimulationSpec,
        tokenizer: PromptTokenizer,
        exchange: Exchange,
        bootstrap: BootstrapSpec,
        seed: int,
    ) -> None:
        self._spec, self._tokenizer, self._exchange = spec, tokenizer, exchange
        self._bootstrap, self._seed = bootstrap, seed
        self._level_tokens = tokenizer.level_tokens()

    @property
    def needs(self) -> tuple[Need, ...]:
        return (
            Need(
                "prompt_logprobs",
                "simulation.num_logprobs",
                self._spec.num_logprobs,
                "set simulation to null",
            ),
        )

    def contexts(self, exemplars: Sequence[Exemplar]) -> list[Exemplar]:
        """The report exemplars to predict."""
        counts: list[tuple[ExemplarKind, int]] = [
            ("top", self._spec.num_top),
            ("quantile", self._spec.num_quantile),
            ("negative", self._spec.num_negative),
        ]
        return choose_kinds(exemplars, counts, num_tokens=self._spec.tokens_per_context, seed=self._seed)

    def requests(self, label: str, contexts: Sequence[Exemplar]) -> list[ModelRequest]:
        size = self._spec.contexts_per_prompt
        prompts = [
            self.prompt(label, contexts[start : start + size]) for start in range(0, len(contexts), size)
        ]
        return [
            prompt_logprobs_request(self._exchange.endpoint, prompt, self._spec.num_logprobs)
            for prompt in prompts
        ]

    async def score(self, label: str, contexts: Sequence[Exemplar]) -> Outcome:
        """Raises: as Exchange.ask."""
        parts = []
        for request in self.requests(label, contexts):
            answer = await self._exchange.ask(request)
            entries = [read_prompt_logprobs(answer.choice, position) for position in request.read_positions]
            parts.append(predict(entries, self._level_tokens))
        predicted_N = np.concatenate([part.level_N for part in parts])
        actual_N = np.concatenate([context.activations_C for context in contexts]).astype(np.float64)
        documents = np.repeat(
            [context.doc_id for context in contexts], [len(context.tokens) for context in contexts]
        )
        parsed_N = ~np.isnan(predicted_N)
        estimate = pearson(
            predicted_N[parsed_N], actual_N[parsed_N], list(documents[parsed_N]), self._bootstrap, self._seed
        )
        mass = float(np.concatenate([part.mass_N for part in parts]).mean())
        num_parsed = int(parsed_N.sum())
        return outcome_of(estimate, num_parsed, len(parsed_N) - num_parsed, sample_sha256(contexts), mass)

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
