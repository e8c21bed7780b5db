"""Packs documents into full sequences: `BOS doc SEP doc SEP doc…`, cut every L tokens.

A document that does not fit goes on in the next sequence, after its BOS. BOS counts to the document that follows
it, a separator to the document before it, so every position belongs to one document; within chats both are the
template's. No BOS is put before a document that begins with one.
"""

from dataclasses import dataclass, field

import numpy as np

from thresher.corpus.tokenised import PLAIN_TEXT, TEMPLATE, RoleIds, TokenIds, TokenisedDocument

Segment = tuple[str, int, int]
"""doc_id, first position, number of tokens."""
RoleRun = tuple[int, int, int]
"""Role id, first position, number of tokens."""


@dataclass(frozen=True)
class PackedSequence:
    token_ids: TokenIds
    """[L]."""
    segments: list[Segment]
    roles: list[RoleRun]
    """Longest runs of one role, in order; positions of plain text lie in none."""


@dataclass
class Packer:
    """Takes documents, gives full sequences; what does not fill the last one is left out."""

    sequence_length: int
    bos_token_id: int | None
    separator_token_id: int | None
    _token_ids: list[TokenIds] = field(default_factory=list)
    _role_ids: list[RoleIds] = field(default_factory=list)
    _segments: list[Segment] = field(default_factory=list)
    _filled: int = 0

    def add(self, doc_id: str, document: TokenisedDocument) -> list[PackedSequence]:
        """The sequences that this document fills."""
        around = TEMPLATE if (document.role_ids != PLAIN_TEXT).any() else PLAIN_TEXT
        rest = _with_separator(document, self.separator_token_id, around)
        has_bos = bool(document.token_ids.size) and document.token_ids[0] == self.bos_token_id
        done: list[PackedSequence] = []
        while rest.token_ids.size:
            start = self._filled
            if start == 0 and self.bos_token_id is not None and not has_bos:
                self._append(_one(self.bos_token_id, around))
            has_bos = False
            taken = rest.cut(self.sequence_length - self._filled)
            rest = rest.after(len(taken.token_ids))
            self._append(taken)
            self._segments.append((doc_id, start, self._filled - start))
            if self._filled == self.sequence_length:
                done.append(self._emit())
        return done

    def _append(self, piece: TokenisedDocument) -> None:
        self._token_ids.append(piece.token_ids)
        self._role_ids.append(piece.role_ids)
        self._filled += len(piece.token_ids)

    def _emit(self) -> PackedSequence:
        packed = PackedSequence(
            np.concatenate(self._token_ids), self._segments, _runs(np.concatenate(self._role_ids))
        )
        self._token_ids, self._role_ids, self._segments, self._filled = [], [], [], 0
        return packed


def _one(token_id: int, role_id: int) -> TokenisedDocument:
    return TokenisedDocument(np.array([token_id], np.int32), np.array([role_id], np.int16))


def _with_separator(
    document: TokenisedDocument, separator_token_id: int | None, role_id: int
) -> TokenisedDocument:
    if separator_token_id is None:
        return document
    separator = _one(separator_token_id, role_id)
    return TokenisedDocument(
        np.concatenate([document.token_ids, separator.token_ids]),
        np.concatenate([document.role_ids, separator.role_ids]),
    )


def _runs(role_ids: RoleIds) -> list[RoleRun]:
    starts = np.flatnonzero(np.diff(role_ids, prepend=role_ids[0] - 1))
    lengths = np.diff(starts, append=len(role_ids))
    runs = zip(role_ids[starts].tolist(), starts.tolist(), lengths.tolist(), strict=True)
    return [run for run in runs if run[0] != PLAIN_TEXT]
