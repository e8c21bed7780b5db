"""Tokenises rendered conversations. Only the template speaks in special tokens; what users wrote is text."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from thresher.contracts.errors import SpecError
from thresher.corpus.chat.template import ChatTemplate, RenderedChat
from thresher.corpus.document import Document
from thresher.corpus.tokenised import TEMPLATE, RoleNames, TokenisedDocument


class Token(NamedTuple):
    token_id: int
    start: int
    """First character."""
    stop: int


class ChatTokeniser:
    """Tokenises conversations and says of every token whose it is.

    A token is the message's in whose content its last character stands; headers, end marks and everything else that
    the template writes is `template`.
    """

    def __init__(
        self, tokenizer: Tokenizer, plain: Tokenizer, template: ChatTemplate, roles: RoleNames
    ) -> None:
        """`plain` is the same tokenizer, with `encode_special_tokens` set: it takes special tokens for text."""
        assert plain.encode_special_tokens
        assert not tokenizer.encode_special_tokens
        self._tokenizer, self._plain, self._template, self._roles = tokenizer, plain, template, roles
        added = tokenizer.get_added_tokens_decoder()
        self._special = {number for number, token in added.items() if token.special}

    def tokenise(self, documents: Sequence[Document]) -> list[TokenisedDocument]:
        """One for each document, in order.

        Raises:
            SpecError: a conversation cannot be rendered, or holds text that cannot be kept apart from special tokens.
        """
        chats = [self._template.render(document) for document in documents]
        encodings = self._tokenizer.encode_batch([chat.text for chat in chats], add_special_tokens=False)
        return [
            self._tokenised(document, chat, encoding)
            for document, chat, encoding in zip(documents, chats, encodings, strict=True)
        ]

    def _tokenised(self, document: Document, chat: RenderedChat, encoding: Encoding) -> TokenisedDocument:
        of_character = np.full(len(chat.text) + 1, TEMPLATE, np.int16)
        is_content = np.zeros(len(chat.text) + 1, np.bool_)
        for span in chat.spans:
            of_character[span.start : span.stop] = self._roles.id_of(span.role)
            is_content[span.start : span.stop] = True
        tokens = _tokens(encoding)
        forged = self._forged(chat.text, tokens, is_content)
        if forged:
            if not all(is_content[token.start : token.stop].all() for token in forged):
                raise _inseparable(document, chat.text, forged[0])
            tokens = self._kept_apart(document, chat.text, tokens, forged)
            if self._forged(chat.text, tokens, is_content):
                raise _inseparable(document, chat.text, forged[0])
        last = np.array([max(token.stop - 1, token.start) for token in tokens], np.int64)
        return TokenisedDocument(np.array([token.token_id for token in tokens], np.int32), of_character[last])

    def _forged(self, text: str, tokens: list[Token], is_content: npt.NDArray[np.bool_]) -> list[Token]:
        """Special tokens that stand in content, whole or in part."""
        return [
            core
            for token in tokens
            if token.token_id in self._special
            and is_content[(core := _without_space(text, token)).start : core.stop].any()
        ]

    def _kept_apart(
        self, document: Document, text: str, tokens: list[Token], forged: list[Token]
    ) -> list[Token]:
        """Cut at the template's special tokens, as the tokenizer itself does, and take all between for text.

        Whether the cut pieces give what the whole gives is tried on the same text without the forgery: some
        tokenizers treat the beginning of a text in a way of its own.
        """
        cores = set(forged)
        cuts = [
            token
            for token in tokens
            if token.token_id in self._special and _without_space(text, token) not in cores
        ]
        harmless = text
        for token in forged:
            stand_in = "x" * (token.stop - token.start)
            harmless = harmless[: token.start] + stand_in + harmless[token.stop :]
        whole = _tokens(self._tokenizer.encode(harmless, add_special_tokens=False))
        if self._encode_between(harmless, cuts) != whole:
            raise _inseparable(document, text, forged[0])
        return self._encode_between(text, cuts)

    def _encode_between(self, text: str, cuts: list[Token]) -> list[Token]:
        tokens: list[Token] = []
        position = 0
        for cut in [*cuts, Token(-1, len(text), len(text))]:
            piece = self._plain.encode(text[position : cut.start], add_special_tokens=False)
            tokens += [
                Token(token.token_id, token.start + position, token.stop + position)
                for token in _tokens(piece)
            ]
            tokens.append(cut)
            position = cut.stop
        return tokens[:-1]


def _tokens(encoding: Encoding) -> list[Token]:
    return [Token(number, *at) for number, at in zip(encoding.ids, encoding.offsets, strict=True)]


def _without_space(text: str, token: Token) -> Token:
    """Special tokens may swallow the spaces beside them."""
    piece = text[token.start : token.stop]
    start = token.start + len(piece) - len(piece.lstrip())
    return Token(token.token_id, start, max(start, token.stop - (len(piece) - len(piece.rstrip()))))


def _inseparable(document: Document, text: str, token: Token) -> SpecError:
    return SpecError(
        "sources.messages_field",
        document.doc_id,
        mend=f"{document.where}: a message holds {text[token.start : token.stop]!r}, which this tokenizer cannot tell "
        "from its special token. Take it out of the message, or drop the conversation.",
    )
