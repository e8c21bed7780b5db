"""Simulation scoring, a request a token, for servers that give log-probabilities of what they write but not of prompts.

Source: as simulated.py; the paper's own simulations were made so.
"""

from collections.abc import Sequence
from itertools import islice

from thresher.labeling.endpoints.completions import first_token_request, read_first_token_logprobs
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.reading import Reading, Sampling, Trial
from thresher.labeling.scorers.scorer import ask_all
from thresher.labeling.scorers.simulated import Simulator, simulated
from thresher.labeling.scorers.simulation_lines import TEMPLATE, SimulationLines
from thresher.labeling.scorers.spec import TokenSimulationSpec


class TokenSimulationScorer(Simulator):
    """Scores labels by simulation, one token at a time. A text costs as many requests as it has tokens."""

    name = "simulation_tokens"
    prompt_sha256 = TEMPLATE.sha256

    def __init__(
        self, spec: TokenSimulationSpec, tokenizer: PromptTokenizer, exchange: Exchange, sampling: Sampling
    ) -> None:
        super().__init__(spec, exchange, sampling)
        self._num_logprobs, self._lines = spec.num_logprobs, SimulationLines(tokenizer)

    def requests(self, label: str, trials: Sequence[Trial]) -> list[ModelRequest]:
        return [
            first_token_request(
                self._exchange.endpoint,
                self._lines.prompt_until(label, trial.contexts[0], position),
                self._num_logprobs,
                self.name,
            )
            for trial in trials
            for position in range(len(trial.contexts[0].tokens))
        ]

    async def observe(self, label: str, trials: Sequence[Trial]) -> list[Reading]:
        answers = await ask_all(self._exchange, self.requests(label, trials))
        left = iter(
            [self._lines.levels_of_texts(read_first_token_logprobs(answer.choice)) for answer in answers]
        )
        return [
            simulated(trial, list(islice(left, len(trial.contexts[0].tokens))), self._lines.max_level)
            for trial in trials
        ]
