"""From documents to token ids."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, processors

from thresher.contracts.errors import SpecError
from thresher.corpus.chat.template import ChatTemplate
from thresher.corpus.chat.tokens import ChatTokeniser
from thresher.corpus.document import Document
from thresher.corpus.spec import CorpusSpec
from thresher.corpus.tokenised import PLAIN_TEXT, RoleNames, TokenisedDocument


def load_tokenizer(folder: str) -> Tokenizer:
    """The tokenizer of a model folder, without what it adds or trims after encoding."""
    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    # Offsets then say where every character went; by default some tokenizers leave spaces out of them.
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def token_id(tokenizer: Tokenizer, field: str, token: str | None) -> int | None:
    """The id of one token.

    Raises:
        SpecError: the tokenizer has no such token.
    """
    if token is None:
        return None
    found = tokenizer.token_to_id(token)
    if found is None:
        known = sorted(str(item.content) for item in tokenizer.get_added_tokens_decoder().values())
        raise SpecError(field, token, allowed=known, mend="Name one token of the tokenizer.")
    return int(found)


def special_token_ids(tokenizer: Tokenizer) -> list[int]:
    """Ids that the tokenizer marks as special, ascending."""
    added = tokenizer.get_added_tokens_decoder()
    return sorted(number for number, token in added.items() if token.special)


class Tokeniser:
    """Tokenises documents, cut to a length."""

    def __init__(self, spec: CorpusSpec, template: ChatTemplate | None, roles: RoleNames) -> None:
        parsing, plain = load_tokenizer(spec.tokenizer), load_tokenizer(spec.tokenizer)
        plain.encode_special_tokens = True
        self._text = parsing if spec.special_tokens_in_text else plain
        self._chat = ChatTokeniser(parsing, plain, template, roles) if template else None
        self._max_tokens = spec.max_document_tokens

    def tokenise(self, documents: Sequence[Document]) -> list[TokenisedDocument]:
        """One for each document, in order."""
        texts = [document.content for document in documents if isinstance(document.content, str)]
        encodings = iter(self._text.encode_batch_fast(texts, add_special_tokens=False))
        chats = iter(self._chats(documents))
        done = []
        for document in documents:
            if isinstance(document.content, str):
                token_ids = np.array(next(encodings).ids[: self._max_tokens], np.int32)
                done.append(TokenisedDocument(token_ids, np.full(len(token_ids), PLAIN_TEXT, dtype=np.int16)))
            else:
                done.append(next(chats).cut(self._max_tokens))
        return done

    def _chats(self, documents: Sequence[Document]) -> list[TokenisedDocument]:
        chats = [document for document in documents if not isinstance(document.content, str)]
        if not chats:
            return []
        assert self._chat is not None, "a source with conversations needs a chat tokeniser"
        return self._chat.tokenise(chats)
