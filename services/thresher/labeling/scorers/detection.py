"""Detection scoring: shown one text at a time, does the scorer say that the label applies?

The answer is read from the log-probabilities of the first token after the prompt, so that it costs no sampling.
Source: Paulo et al., Automatically Interpreting Millions of Features in Large Language Models (2024), section 3.3;
balanced accuracy, since the shares of firing and silent texts are set here and not by nature.

Shapes: N contexts.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence

import numpy as np

from thresher.contracts.exemplars import ExemplarKind
from thresher.labeling.endpoints.completions import first_token_request, read_first_token_logprobs
from thresher.labeling.endpoints.needs import Need
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.exemplars.book import Exemplar, sample_sha256
from thresher.labeling.exemplars.contexts import choose_kinds
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.outcome import Outcome, outcome_of
from thresher.labeling.scorers.spec import BootstrapSpec, DetectionSpec
from thresher.labeling.scorers.statistics import balanced_accuracy
from thresher.labeling.templates import load_template

TEMPLATE = load_template("detection-v1")
YES, NO = "yes", "no"


class DetectionScorer:
    """Scores labels by detection. `score_type` names it in the scores table."""

    score_type = "detection"
    prompt_sha256 = TEMPLATE.sha256

    def __init__(
        self,
        spec: DetectionSpec,
        tokenizer: PromptTokenizer,
        exchange: Exchange,
        bootstrap: BootstrapSpec,
        seed: int,
    ) -> None:
        self._spec, self._tokenizer, self._exchange = spec, tokenizer, exchange
        self._bootstrap, self._seed = bootstrap, seed

    @property
    def needs(self) -> tuple[Need, ...]:
        return (Need("logprobs", "detection.num_logprobs", self._spec.num_logprobs, "set detection to null"),)

    def contexts(self, exemplars: Sequence[Exemplar]) -> list[Exemplar]:
        """The report exemplars to ask about; firing ones from both ends of the scale."""
        num_top = (self._spec.num_active + 1) // 2
        counts: list[tuple[ExemplarKind, int]] = [
            ("top", num_top),
            ("quantile", self._spec.num_active - num_top),
            ("negative", self._spec.num_inactive),
        ]
        return choose_kinds(exemplars, counts, num_tokens=self._spec.tokens_per_context, seed=self._seed)

    def requests(self, label: str, contexts: Sequence[Exemplar]) -> list[ModelRequest]:
        return [self._request(label, context) for context in contexts]

    async def score(self, label: str, contexts: Sequence[Exemplar]) -> Outcome:
        """Raises: as Exchange.ask."""
        answers = await asyncio.gather(
            *(self._exchange.ask(request) for request in self.requests(label, contexts))
        )
        yes_shares = [yes_share(read_first_token_logprobs(answer.choice)) for answer in answers]
        parsed = [
            (context, share) for context, share in zip(contexts, yes_shares, strict=True) if share is not None
        ]
        estimate = balanced_accuracy(
            np.array([context.kind != "negative" for context, _ in parsed], bool),
            np.array([share > 0.5 for _, share in parsed], bool),
            [context.doc_id for context, _ in parsed],
            self._bootstrap,
            self._seed,
        )
        return outcome_of(estimate, len(parsed), len(contexts) - len(parsed), sample_sha256(contexts))

    def _request(self, label: str, context: Exemplar) -> ModelRequest:
        prompt = self._tokenizer.start()
        text = " ".join(context.text.split())
        self._tokenizer.add(prompt, [TEMPLATE.fill(label=label, context=text)])
        return first_token_request(self._exchange.endpoint, prompt, self._spec.num_logprobs)


def yes_share(logprob_by_text: Mapping[str, float]) -> float | None:
    """Probability of yes among yes and no, whatever their case and spacing; None if neither is there."""
    probability = {YES: 0.0, NO: 0.0}
    for text, logprob in logprob_by_text.items():
        word = text.strip().lower()
        if word in probability:
            probability[word] += math.exp(logprob)
    total = probability[YES] + probability[NO]
    return probability[YES] / total if total > 0 else None
