"""Order, de-duplication and split of documents: each a function of the seed and the document alone."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from thresher.contracts.manifests import SPLITS, SplitName
from thresher.corpus.sources import Document
from thresher.corpus.spec import SplitShares


@dataclass(frozen=True)
class DealtDocument:
    """A document with its place in the corpus."""

    document: Document
    source: int
    """Index of the source it came from."""
    split: SplitName
    order: bytes
    """Documents are packed in the order of this hash."""


def deal(sources: Sequence[Iterable[Document]], shares: SplitShares, seed: int) -> list[DealtDocument]:
    """Drop documents whose text was seen before, choose each one's split, and put all in a random order.

    The split hangs on the text alone: the same text can never lie in two splits, whatever it is called.
    """
    seen: set[bytes] = set()
    dealt: list[DealtDocument] = []
    for index, documents in enumerate(sources):
        for document in documents:
            digest = hashlib.sha256(document.text.encode()).digest()
            if digest not in seen:
                seen.add(digest)
                draw = hashlib.sha256(b"%d:" % seed + digest).digest()
                dealt.append(DealtDocument(document, index, _split(draw, shares), draw[8:24]))
    return sorted(dealt, key=lambda item: item.order)


def _split(draw: bytes, shares: SplitShares) -> SplitName:
    at = int.from_bytes(draw[:8], "big") / 2**64
    for split in SPLITS[:-1]:
        at -= getattr(shares, split)
        if at < 0:
            return split
    return SPLITS[-1]
