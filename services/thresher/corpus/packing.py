"""Packs documents into full sequences: `BOS doc SEP doc SEP doc…`, cut every L tokens.

A document that does not fit goes on in the next sequence, after its BOS. BOS counts to the document that follows
it, a separator to the document before it, so every position belongs to one document.
"""

from dataclasses import dataclass, field

import numpy as np

Segment = tuple[str, int, int]
"""doc_id, first position, number of tokens."""


@dataclass(frozen=True)
class PackedSequence:
    token_ids: np.ndarray
    """int32 [L]."""
    segments: list[Segment]


@dataclass
class Packer:
    """Takes documents, gives full sequences; what does not fill the last one is left out."""

    sequence_length: int
    bos_token_id: int | None
    separator_token_id: int | None
    _tokens: list[int] = field(default_factory=list)
    _segments: list[Segment] = field(default_factory=list)

    def add(self, doc_id: str, token_ids: list[int]) -> list[PackedSequence]:
        """The sequences that this document fills."""
        rest = token_ids if self.separator_token_id is None else [*token_ids, self.separator_token_id]
        done: list[PackedSequence] = []
        while rest:
            start = len(self._tokens)
            if start == 0 and self.bos_token_id is not None:
                self._tokens.append(self.bos_token_id)
            taken = rest[: self.sequence_length - len(self._tokens)]
            rest = rest[len(taken) :]
            self._tokens += taken
            self._segments.append((doc_id, start, len(self._tokens) - start))
            if len(self._tokens) == self.sequence_length:
                done.append(PackedSequence(np.array(self._tokens, dtype=np.int32), self._segments))
                self._tokens, self._segments = [], []
        return done
