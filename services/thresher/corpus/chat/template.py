"""Renders conversations with a model's chat template, and knows where in the text each message's content is."""

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from jinja2.exceptions import TemplateError

from thresher.contracts.errors import SpecError
from thresher.contracts.ids import sha256_hex
from thresher.corpus.document import Document, Message
from thresher.corpus.spec import ChatSpec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Span:
    role: str
    start: int
    """First character."""
    stop: int


@dataclass(frozen=True)
class RenderedChat:
    text: str
    spans: list[Span]
    """The content of each message that has any, in order; all between is the template's."""


class ChatTemplate:
    """The template of a tokenizer folder, or another that the spec names.

    Raises:
        SpecError: there is none.
    """

    def __init__(self, tokenizer: str, spec: ChatSpec) -> None:
        self._tokenizer = _load(tokenizer)
        self._template = _template_text(self._tokenizer, tokenizer, spec)
        self._variables = {"strftime_now": _no_clock, **spec.variables}
        self.sha256 = sha256_hex(self._template.encode())

    def render(self, document: Document) -> RenderedChat:
        """Render a conversation, and find each message's content in it.

        A second rendering, with a mark in place of each content, shows what the template writes between them. Both
        must agree character by character, so a template that rewrites content is refused, never misread.

        Raises:
            SpecError: the template refuses the conversation, or rewrites a message.
        """
        assert not isinstance(document.content, str), "text needs no template"
        messages = document.content
        text = self._apply(document, messages)
        # A blank content keeps its place: templates test for it.
        shown = [index for index, message in enumerate(messages) if message.content.strip()]
        mark = _unused_mark(text)
        marked = tuple(
            Message(message.role, f"{mark}{index}." if message.content.strip() else message.content)
            for index, message in enumerate(messages)
        )
        between = _pieces(self._apply(document, marked), [marked[index].content for index in shown])
        spans = _find([messages[index] for index in shown], between, text) if between else None
        if spans is None:
            raise SpecError(
                "sources.messages_field",
                document.doc_id,
                mend=f"{document.where}: the chat template changes, repeats or drops what a message says, so that "
                "tokens cannot be told apart by role. Give a plainer one as chat.template_file.",
            )
        return RenderedChat(text, spans)

    def _apply(self, document: Document, messages: tuple[Message, ...]) -> str:
        plain = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text: str = self._tokenizer.apply_chat_template(
                plain, chat_template=self._template, tokenize=False, **self._variables
            )
        except (TemplateError, TypeError) as error:
            raise SpecError(
                "sources.messages_field",
                document.doc_id,
                mend=f"{document.where}: the chat template refuses the conversation ({error}). Mend or drop it, or "
                "give another chat.template_file.",
            ) from error
        return text


def _pieces(skeleton: str, marks: list[str]) -> list[str] | None:
    """What stands before, between and after the marks, if each stands once, in order."""
    pieces, rest = [], skeleton
    for mark in marks:
        piece, found, rest = rest.partition(mark)
        if not found or mark in rest:
            return None
        pieces.append(piece)
    return [*pieces, rest]


def _find(messages: list[Message], between: list[str], text: str) -> list[Span] | None:
    """Walk through the text, piece by content by piece; None where it is something else."""
    spans, position = [], len(between[0])
    if not text.startswith(between[0]):
        return None
    for message, following in zip(messages, between[1:], strict=True):
        content = message.content
        # Many templates trim.
        ways = (content, content.rstrip(), content.lstrip(), content.strip())
        way = next((way for way in ways if text.startswith(way + following, position)), None)
        if way is None:
            return None
        spans.append(Span(message.role, position, position + len(way)))
        position += len(way) + len(following)
    return spans if position == len(text) else None


def _unused_mark(text: str) -> str:
    return next(mark for number in count() if (mark := f"thresher{number}mark") not in text)


def _load(tokenizer: str) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
    except (OSError, ValueError) as error:
        raise SpecError(
            "tokenizer", tokenizer, mend=f"transformers cannot open it, as chat templates need: {error}"
        ) from error


def _template_text(tokenizer: "PreTrainedTokenizerBase", folder: str, spec: ChatSpec) -> str:
    if spec.template_file is not None:
        file = Path(spec.template_file)
        if not file.is_file():
            raise SpecError("chat.template_file", spec.template_file, mend="Give a file that exists.")
        return file.read_text(encoding="utf-8")
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if not template:
        raise SpecError(
            "tokenizer",
            folder,
            allowed="a folder with chat_template.jinja, or a chat_template in tokenizer_config.json",
            mend="It has no (default) chat template: give one as chat.template_file.",
        )
    return str(template)


def _no_clock(time_format: str) -> NoReturn:
    raise SpecError(
        "chat.variables",
        time_format,
        mend="The chat template writes today's date, which would make another corpus every day: set the variable that "
        "it reads instead, such as date_string.",
    )
