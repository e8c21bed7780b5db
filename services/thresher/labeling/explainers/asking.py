"""Ask a chat model for a phrase: in the form it can keep to, and again where its answer is of no use."""

from collections.abc import Sequence
from dataclasses import dataclass

from thresher.contracts.ids import canonical_json, sha256_hex
from thresher.contracts.states import State
from thresher.labeling.budget.budget import BudgetExhaustedError
from thresher.labeling.endpoints.chat import (
    REPAIR,
    Message,
    chat_request,
    content_of,
    is_refused,
    repair_messages,
    user_message,
)
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import Answer, ModelRequest, RequestFailedError
from thresher.labeling.explainers.answer_form import AnswerForm
from thresher.labeling.explainers.explainer import Provenance
from thresher.labeling.explainers.phrase import Phrase
from thresher.labeling.explainers.spec import PromptedSpec
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.templates import Template

MAX_SEED = 2**63


@dataclass(frozen=True)
class Asked:
    """A phrase, or the state in its place, and every answer on the way to it."""

    phrase: Phrase
    answers: tuple[Answer, ...]


class PhraseAsker:
    """Asks one endpoint.

    Args:
        seed: of the first draw; the others follow on.
    """

    def __init__(
        self, spec: PromptedSpec, form: AnswerForm, tokenizer: PromptTokenizer, exchange: Exchange, seed: int
    ) -> None:
        self._spec, self._form, self._tokenizer = spec, form, tokenizer
        self._exchange, self._seed = exchange, seed

    def provenance(self, method: str, templates: Sequence[Template], draw: int = 0) -> Provenance:
        """Of what is asked with these templates."""
        endpoint = self._exchange.endpoint
        repair = (REPAIR,) if self._spec.max_repairs else ()
        hashes = [item.sha256 for item in (*templates, *self._form.templates, *repair)]
        prompt_sha256 = hashes[0] if len(hashes) == 1 else sha256_hex(canonical_json(hashes).encode())
        decoding = canonical_json(
            {
                "temperature": self._spec.temperature,
                "max_completion_tokens": self._max_tokens,
                "seed": self._seed_of(draw),
                "structure": self._form.structure,
            }
        )
        return Provenance(method, endpoint.model, endpoint.revision, prompt_sha256, decoding)

    def request(self, question: str, draw: int = 0) -> ModelRequest:
        """The first request about a question; `draw` tells candidates apart."""
        return self._request(self._opening(question), draw)

    async def ask(self, question: str, draw: int = 0) -> Asked:
        """Ask, and ask again up to `max_repairs` times with what was wrong.

        Raises:
            EndpointError: the endpoint is down or refuses.
        """
        messages, answers = self._opening(question), list[Answer]()
        while True:
            try:
                answer = await self._exchange.ask(self._request(messages, draw))
            except BudgetExhaustedError:
                return Asked(Phrase(State.OVER_BUDGET, None), tuple(answers))
            except RequestFailedError:
                return Asked(Phrase(State.API_ERROR, None), tuple(answers))
            answers.append(answer)
            phrase = self._read(answer)
            if phrase.state != State.UNPARSABLE or len(answers) > self._spec.max_repairs:
                return Asked(phrase, tuple(answers))
            messages = [*messages, *repair_messages(answer, phrase.fault or "")]

    def _opening(self, question: str) -> list[Message]:
        return [user_message("\n\n".join([question, *(item.text for item in self._form.templates)]))]

    def _request(self, messages: list[Message], draw: int) -> ModelRequest:
        form = self._form.response_format
        return chat_request(
            self._exchange.endpoint,
            self._tokenizer,
            "explain",
            messages,
            max_tokens=self._max_tokens,
            seed=self._seed_of(draw),
            temperature=self._spec.temperature,
            options={} if form is None else {"response_format": form},
        )

    def _read(self, answer: Answer) -> Phrase:
        return Phrase(State.REFUSED, None) if is_refused(answer) else self._form.read(content_of(answer))

    @property
    def _max_tokens(self) -> int:
        num_thinking = self._spec.reasoning_tokens if self._spec.reasoning else 0
        return self._spec.max_tokens + self._form.num_extra_tokens + num_thinking

    def _seed_of(self, draw: int) -> int:
        return (self._seed + draw) % MAX_SEED
