"""One question about several texts, a yes or a no about each.

In a chat the model writes a line a text, and each answer is read from the log-probabilities of its word. In a plain
text the question stands behind each text, a mark takes the place of each answer, and what is read is what the model
would have expected there, so that nothing is sampled (Bills et al. 2023, the appendix on all tokens at once).
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from thresher.contracts.ids import sha256_hex
from thresher.labeling.endpoints.chat import chat_logprobs_request
from thresher.labeling.endpoints.completions import (
    prompt_logprobs_request,
    read_chat_logprobs,
    read_prompt_logprobs_by_text,
)
from thresher.labeling.endpoints.needs import Ability
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.scorers.first_token import Wording
from thresher.labeling.scorers.spec import DetectionSpec, Form
from thresher.labeling.templates import load_template

CHAT = load_template("detection-joint-chat-v1")
MARK = " ?"
TOKENS_A_LINE = 8
TOKENS_AROUND = 16
"""Of a chat's answer that says more than it should."""
LINE = re.compile(r"^\W*(?:text\s*)?(\d+)\W+(yes|no)\b", re.IGNORECASE | re.MULTILINE)
JOINT_ABILITIES: dict[Form, Ability] = {"completion": "prompt_logprobs", "chat": "chat_logprobs"}
"""What each form needs of an endpoint."""


def joint_sha256(spec: DetectionSpec, wording: Wording) -> str:
    """Of the words asked in; each number of texts is another: what bears five may be lost among twenty."""
    words = CHAT if spec.form == "chat" else wording.completion
    return sha256_hex(f"{words.sha256} {spec.contexts_per_prompt}".encode())


class JointQuestion:
    """Puts a question about several texts in the form that the spec says, and reads the answers.

    Args:
        wording: of the question about one text, whose plain form is asked here behind each.
        purpose: of the requests.
    """

    def __init__(
        self,
        spec: DetectionSpec,
        wording: Wording,
        tokenizer: PromptTokenizer,
        endpoint: EndpointSpec,
        purpose: str,
    ) -> None:
        self._spec, self._wording = spec, wording
        self._tokenizer, self._endpoint, self._purpose = tokenizer, endpoint, purpose

    def request(self, label: str, contexts: Sequence[str]) -> ModelRequest:
        """About texts of one line each."""
        return self._chat(label, contexts) if self._spec.form == "chat" else self._plain(label, contexts)

    def read(self, request: ModelRequest, answer: Answer, count: int) -> list[dict[str, float]]:
        """By text asked about: log-probability of each word that may be the answer; empty where none is to be read."""
        if self._spec.form == "chat":
            return _answers_by_line(answer, count)
        return [read_prompt_logprobs_by_text(answer.choice, position) for position in request.read_positions]

    def _chat(self, label: str, contexts: Sequence[str]) -> ModelRequest:
        texts = "\n".join(f"Text {number}: {context}" for number, context in enumerate(contexts, 1))
        return chat_logprobs_request(
            self._endpoint,
            self._tokenizer,
            self._purpose,
            CHAT.fill(texts=texts, count=str(len(contexts)), label=label),
            max_tokens=TOKENS_AROUND + TOKENS_A_LINE * len(contexts),
            num_logprobs=self._spec.num_logprobs,
        )

    def _plain(self, label: str, contexts: Sequence[str]) -> ModelRequest:
        examples, question = self._wording.completion.split_last()
        prompt = self._tokenizer.start()
        self._tokenizer.add(prompt, [examples])
        for context in contexts:
            self._tokenizer.add(prompt, [question.fill(label=label, context=context)])
            self._tokenizer.mark(prompt, MARK)
            self._tokenizer.add(prompt, ["\n\n"])
        return prompt_logprobs_request(self._endpoint, prompt, self._spec.num_logprobs, self._purpose)


def _answers_by_line(answer: Answer, count: int) -> list[dict[str, float]]:
    """By the number at the beginning of a line. Of two lines of one number the first counts."""
    tokens = read_chat_logprobs(answer.choice)
    starts = list(accumulate((len(text) for text, _ in tokens), initial=0))
    found: dict[int, dict[str, float]] = {}
    for line in LINE.finditer("".join(text for text, _ in tokens)):
        found.setdefault(int(line[1]), tokens[bisect_right(starts, line.start(2)) - 1][1])
    return [found.get(number, {}) for number in range(1, count + 1)]
