"""Simulation scoring without log-probabilities, for hosted chat services: one whole number a token, as JSON.

Source: as simulated.py, whose code has a simulator without log-probabilities too.
"""

import json
import math
import re
from collections.abc import Sequence

from thresher.labeling.endpoints.chat import chat_request, content_of, user_message
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.reading import Reading, Sampling, Trial
from thresher.labeling.scorers.scorer import ask_all
from thresher.labeling.scorers.simulated import Simulator, read_levels
from thresher.labeling.scorers.simulation_lines import ESCAPES
from thresher.labeling.scorers.spec import ChatSimulationSpec
from thresher.labeling.templates import load_template

TEMPLATE = load_template("simulation-chat-v1")
MAX_LEVEL = 10
TOKENS_PER_LEVEL = 4  # the number, its comma, and spaces or line breaks
FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)


class ChatSimulationScorer(Simulator):
    """Scores labels by simulation through a chat. A text whose answer is not exactly a number a token is unparsed."""

    name = "simulation_chat"
    prompt_sha256 = TEMPLATE.sha256

    def __init__(
        self, spec: ChatSimulationSpec, tokenizer: PromptTokenizer, exchange: Exchange, sampling: Sampling
    ) -> None:
        super().__init__(spec, exchange, sampling)
        self._tokenizer = tokenizer

    def requests(self, label: str, trials: Sequence[Trial]) -> list[ModelRequest]:
        return [self._request(label, trial.contexts[0]) for trial in trials]

    async def observe(self, label: str, trials: Sequence[Trial]) -> list[Reading]:
        answers = await ask_all(self._exchange, self.requests(label, trials))
        return [
            read_levels(trial, parse_levels(content_of(answer), len(trial.contexts[0].tokens)), MAX_LEVEL)
            for trial, answer in zip(trials, answers, strict=True)
        ]

    def _request(self, label: str, context: Exemplar) -> ModelRequest:
        count = len(context.tokens)
        lines = "\n".join(
            f"{index + 1}\t{token.translate(ESCAPES)}" for index, token in enumerate(context.tokens)
        )
        text = TEMPLATE.fill(label=" ".join(label.split()), tokens=lines, count=str(count))
        return chat_request(
            self._exchange.endpoint,
            self._tokenizer,
            self.name,
            [user_message(text)],
            max_tokens=TOKENS_PER_LEVEL * (count + 2),
            seed=self._sampling.seed,
        )


def parse_levels(content: str, count: int) -> list[float]:
    """Levels from a JSON list of `count` whole numbers up to 10; all NaN if the answer is anything else."""
    fenced = FENCE.fullmatch(content.strip())
    try:
        found = json.loads(fenced[1] if fenced else content)
    except (json.JSONDecodeError, RecursionError):
        found = None
    if (
        not isinstance(found, list)
        or len(found) != count
        or not all(type(level) is int and 0 <= level <= MAX_LEVEL for level in found)
    ):
        return [math.nan] * count
    return [float(level) for level in found]
