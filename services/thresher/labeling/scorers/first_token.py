"""A question that is answered by one word: put as a turn of a chat, or as the end of a plain text with examples.

Models that were tuned to follow instructions know more than they say at the end of a plain text; base models have no
chat. Either way the answer is read from the log-probabilities of its first token, so that it costs no sampling.
"""

from dataclasses import dataclass

from thresher.labeling.endpoints.chat import chat_logprobs_request
from thresher.labeling.endpoints.completions import (
    first_token_request,
    read_chat_logprobs,
    read_first_token_logprobs,
)
from thresher.labeling.endpoints.needs import Ability
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.scorers.spec import AskedSpec, Form
from thresher.labeling.templates import Template, load_template

ABILITIES: dict[Form, Ability] = {"completion": "logprobs", "chat": "chat_logprobs"}
"""What each form needs of an endpoint."""


@dataclass(frozen=True)
class Wording:
    """The words of a question in both forms."""

    completion: Template
    chat: Template

    def of(self, form: Form) -> Template:
        return self.chat if form == "chat" else self.completion


def load_wording(completion: str, chat: str) -> Wording:
    """By the names of two prompt files."""
    return Wording(load_template(completion), load_template(chat))


class FirstTokenQuestion:
    """Puts a question in the form that the spec says, and reads the answer.

    Args:
        purpose: of the requests.
    """

    def __init__(
        self,
        spec: AskedSpec,
        wording: Wording,
        tokenizer: PromptTokenizer,
        endpoint: EndpointSpec,
        purpose: str,
    ) -> None:
        self._spec, self._template = spec, wording.of(spec.form)
        self._tokenizer, self._endpoint, self._purpose = tokenizer, endpoint, purpose

    def request(self, **values: str) -> ModelRequest:
        """The question with values in the places of its template."""
        text = self._template.fill(**values)
        if self._spec.form == "completion":
            prompt = self._tokenizer.start()
            self._tokenizer.add(prompt, [text])
            return first_token_request(self._endpoint, prompt, self._spec.num_logprobs, self._purpose)
        return chat_logprobs_request(
            self._endpoint,
            self._tokenizer,
            self._purpose,
            text,
            max_tokens=1,
            num_logprobs=self._spec.num_logprobs,
        )

    def read(self, answer: Answer) -> dict[str, float]:
        """Log-probability by text, of the most likely first tokens; empty where none are to be read."""
        if self._spec.form == "completion":
            return read_first_token_logprobs(answer.choice)
        tokens = read_chat_logprobs(answer.choice)
        return tokens[0][1] if tokens else {}
