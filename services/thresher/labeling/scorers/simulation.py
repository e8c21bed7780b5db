"""Simulation scoring, all tokens at once.

A simulator reads the label and the tokens, with `unknown` in the place of every activation, and is asked what it
would have expected in that place. Its expected value over the levels is the predicted activation.
Source: as simulated.py, and the appendix on simulating all tokens at once.
"""

from collections.abc import Sequence
from itertools import islice

from thresher.labeling.endpoints.completions import prompt_logprobs_request, read_prompt_logprobs
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.reading import Reading, Sampling, Trial
from thresher.labeling.scorers.scorer import ask_all
from thresher.labeling.scorers.simulated import Simulator, simulated
from thresher.labeling.scorers.simulation_lines import TEMPLATE, SimulationLines
from thresher.labeling.scorers.spec import SimulationSpec


class SimulationScorer(Simulator):
    """Scores labels by simulation, all tokens of a prompt at once."""

    name = "simulation"
    prompt_sha256 = TEMPLATE.sha256

    def __init__(
        self, spec: SimulationSpec, tokenizer: PromptTokenizer, exchange: Exchange, sampling: Sampling
    ) -> None:
        super().__init__(spec, exchange, sampling)
        self._contexts_per_prompt, self._num_logprobs = spec.contexts_per_prompt, spec.num_logprobs
        self._lines = SimulationLines(tokenizer)

    def requests(self, label: str, trials: Sequence[Trial]) -> list[ModelRequest]:
        contexts, size = [trial.contexts[0] for trial in trials], self._contexts_per_prompt
        prompts = [
            self._lines.prompt(label, contexts[start : start + size])
            for start in range(0, len(contexts), size)
        ]
        return [
            prompt_logprobs_request(self._exchange.endpoint, prompt, self._num_logprobs) for prompt in prompts
        ]

    async def observe(self, label: str, trials: Sequence[Trial]) -> list[Reading]:
        requests = self.requests(label, trials)
        answers = await ask_all(self._exchange, requests)
        left = iter(
            [
                self._lines.levels(read_prompt_logprobs(answer.choice, position))
                for request, answer in zip(requests, answers, strict=True)
                for position in request.read_positions
            ]
        )
        return [
            simulated(trial, list(islice(left, len(trial.contexts[0].tokens))), self._lines.max_level)
            for trial in trials
        ]
