"""Texts that a model writes from a label. What it writes is untrusted: few lines, short ones, without control codes."""

import re
from dataclasses import dataclass

from thresher.labeling.endpoints.chat import (
    REPAIR,
    Message,
    chat_request,
    content_of,
    is_refused,
    repair_messages,
    user_message,
    without_thought,
)
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.spec import GenerationSpec
from thresher.labeling.shown_text import PLAIN_QUOTES, one_line
from thresher.labeling.templates import load_template

FIRES, SILENT = load_template("generation-fires-v1"), load_template("generation-silent-v1")
TEMPLATES = (FIRES, SILENT, REPAIR)
MAX_CHARACTERS = 300
MAX_SEED = 2**63
NUMBERED = re.compile(r"^\W{0,3}\d{1,3}\W{0,2}[.):\]](?:\W{0,3}\s+|\W*$|(?=[^\W\d]))|^[-*•]\s+")
WRAPPING = "\"'`*_ "


@dataclass(frozen=True)
class Written:
    """Usable texts of an answer, as many as were asked for or fewer, and if fewer, what to say about it."""

    texts: tuple[str, ...]
    fault: str | None = None


def parse_texts(content: str, count: int) -> Written:
    """The first `count` different texts, a line each; only numbered lines, if there are any.

    A line that holds no word, or is longer than MAX_CHARACTERS, is no text.
    """
    said = without_thought(content)
    if said is None:
        return Written((), "The thinking came to no end.")
    lines = [line.strip() for line in said.splitlines()]
    numbered = [line for line in lines if NUMBERED.match(line)]
    texts: dict[str, str] = {}
    for line in numbered or lines:
        text = one_line(NUMBERED.sub("", line, count=1).translate(PLAIN_QUOTES)).strip(WRAPPING)
        if any(char.isalnum() for char in text) and len(text) <= MAX_CHARACTERS:
            texts.setdefault(text.casefold(), text)
    found = tuple(texts.values())[:count]
    if len(found) == count:
        return Written(found)
    return Written(
        found,
        f"It holds {len(found)} different texts of at most {MAX_CHARACTERS} characters, {count} are needed, each on a "
        "line of its own with its number before it.",
    )


class TextWriter:
    """Asks an endpoint for texts.

    Args:
        purpose: what they are for.
        seed: of the first draw; the others follow on.
    """

    def __init__(
        self, spec: GenerationSpec, tokenizer: PromptTokenizer, exchange: Exchange, purpose: str, seed: int
    ) -> None:
        self._spec, self._tokenizer, self._exchange = spec, tokenizer, exchange
        self._purpose, self._seed = purpose, seed

    def request(self, label: str, draw: int, *, fires: bool) -> ModelRequest:
        """The first request of a draw, for texts on which a feature of this label should fire, or should not."""
        return self._request(self._opening(label, fires), draw)

    async def texts(self, label: str, draw: int, *, fires: bool) -> tuple[str, ...]:
        """As many usable texts as the spec says, or fewer: of the answers of a draw, those of the best one.

        Raises: as Exchange.ask.
        """
        messages, best, num_repairs = self._opening(label, fires), Written(()), 0
        while True:
            answer = await self._exchange.ask(self._request(messages, draw))
            written = parse_texts(content_of(answer), self._spec.texts_per_request)
            best = max(best, written, key=lambda item: len(item.texts))
            # A model that declines is not argued with.
            if written.fault is None or is_refused(answer) or num_repairs == self._spec.max_repairs:
                return best.texts
            messages = [*messages, *repair_messages(answer, written.fault)]
            num_repairs += 1

    def _opening(self, label: str, fires: bool) -> list[Message]:
        template = FIRES if fires else SILENT
        filled = template.fill(count=str(self._spec.texts_per_request), label=one_line(label))
        return [user_message(filled)]

    def _request(self, messages: list[Message], draw: int) -> ModelRequest:
        return chat_request(
            self._exchange.endpoint,
            self._tokenizer,
            self._purpose,
            messages,
            max_tokens=self._spec.texts_per_request * self._spec.tokens_per_text,
            seed=(self._seed + draw) % MAX_SEED,
            temperature=self._spec.temperature,
        )
