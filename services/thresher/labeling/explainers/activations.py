"""The activations explainer: texts with the firing tokens marked, and a request for one short phrase.

Source: Bills et al., Language models can explain neurons in language models (OpenAI, 2023), section "Explain";
marking as in Paulo et al. (2024), section 3.2.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from thresher.contracts.exemplars import ExemplarKind
from thresher.contracts.ids import canonical_json
from thresher.contracts.states import State
from thresher.labeling.budget.budget import BudgetExhaustedError
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import Answer, ModelRequest, RequestFailedError
from thresher.labeling.exemplars.contexts import choose_kinds
from thresher.labeling.exemplars.evidence import Evidence
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.explainers.explainer import Candidate, Provenance
from thresher.labeling.explainers.phrase import Phrase, parse_phrase
from thresher.labeling.explainers.spec import ActivationsSpec
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.templates import load_template

TEMPLATE = load_template("explain-activations-v1")
MAX_LEVEL = 9
MAX_STRONGEST_TOKENS = 12
CHAT_OVERHEAD_TOKENS = 64  # roles and default system prompt, which the chat template of the endpoint adds


class ActivationsExplainer:
    """Writes a label from a feature's strongest exemplars of the explain split.

    The prompt holds no worked examples: a small model answers with one of theirs.
    """

    def __init__(
        self, spec: ActivationsSpec, tokenizer: PromptTokenizer, exchange: Exchange, seed: int
    ) -> None:
        self._spec, self._tokenizer, self._exchange, self._seed = spec, tokenizer, exchange, seed

    @property
    def provenance(self) -> Provenance:
        endpoint = self._exchange.endpoint
        return Provenance(
            self._spec.method,
            endpoint.model,
            endpoint.revision,
            TEMPLATE.sha256,
            canonical_json(self._decoding()),
        )

    def shown(self, evidence: Evidence) -> list[Exemplar]:
        """The explain exemplars to show: the strongest, in order."""
        strongest = evidence.of("explain", ["top"])[: self._spec.num_exemplars]
        counts: list[tuple[ExemplarKind, int]] = [("top", self._spec.num_exemplars)]
        return choose_kinds(strongest, counts, num_tokens=self._spec.tokens_per_exemplar, seed=self._seed)

    def requests(self, evidence: Evidence) -> list[ModelRequest]:
        return [self._request(shown)] if (shown := self.shown(evidence)) else []

    async def explain(self, evidence: Evidence) -> list[Candidate]:
        shown = self.shown(evidence)
        try:
            answer = await self._exchange.ask(self._request(shown))
        except BudgetExhaustedError:
            return [Candidate(Phrase(State.OVER_BUDGET, None), self.provenance, tuple(shown))]
        except RequestFailedError:
            return [Candidate(Phrase(State.API_ERROR, None), self.provenance, tuple(shown))]
        return [Candidate(_phrase(answer), self.provenance, tuple(shown), (answer,))]

    def _request(self, shown: Sequence[Exemplar]) -> ModelRequest:
        max_activation = max(float(item.activations_C.max()) for item in shown)
        lines = "\n".join(marked_text(item, max_activation) for item in shown)
        text = TEMPLATE.fill(exemplars=lines, tokens=", ".join(strongest_tokens(shown)))
        endpoint = self._exchange.endpoint
        num_prompt_tokens = len(self._tokenizer.encode(text)) + CHAT_OVERHEAD_TOKENS
        return ModelRequest(
            purpose="explain",
            model=endpoint.model,
            revision=endpoint.revision,
            body={
                "model": endpoint.model,
                "messages": [{"role": "user", "content": text}],
                **self._decoding(),
            },
            max_total_tokens=num_prompt_tokens + self._spec.max_tokens,
        )

    def _decoding(self) -> dict[str, float | int]:
        return {
            "temperature": self._spec.temperature,
            "max_completion_tokens": self._spec.max_tokens,
            "seed": self._seed,
        }


def _phrase(answer: Answer) -> Phrase:
    message: dict[str, Any] = answer.choice["message"]
    if message.get("refusal") or answer.choice.get("finish_reason") == "content_filter":
        return Phrase(State.REFUSED, None)
    return parse_phrase(message.get("content") or "")


def strongest_tokens(shown: Sequence[Exemplar]) -> list[str]:
    """Distinct tokens that fire, the strongest first."""
    strongest: dict[str, float] = {}
    for item in shown:
        for token, activation in zip(item.tokens, item.activations_C, strict=True):
            if activation > 0 and (text := plain(token)):
                strongest[text] = max(strongest.get(text, 0.0), float(activation))
    ranked = sorted(strongest, key=lambda text: -strongest[text])
    return ranked[:MAX_STRONGEST_TOKENS]


def marked_text(exemplar: Exemplar, max_activation: float) -> str:
    """One line: tokens that fire are in guillemets, with a level from 1 to 9 of `max_activation` behind them."""
    levels = np.rint(MAX_LEVEL * np.maximum(exemplar.activations_C, 0) / max_activation).astype(int)
    pieces = [
        _marked(token, int(level)) if level > 0 else token
        for token, level in zip(exemplar.tokens, levels, strict=True)
    ]
    return plain("".join(pieces))


def plain(text: str) -> str:
    """One line, without what a chat template would read as the end of a turn."""
    return " ".join(text.replace("<|", "< |").split())


def _marked(token: str, level: int) -> str:
    inner = token.strip()
    if not inner:
        return token
    start = token.index(inner)
    return f"{token[:start]}«{inner}»({level}){token[start + len(inner) :]}"
