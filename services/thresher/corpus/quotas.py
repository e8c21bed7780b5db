"""How many tokens each source gives to each split, and which documents that takes.

Shape suffixes: D documents in packing order.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from thresher.contracts.manifests import SPLITS
from thresher.corpus.dealing import Deal
from thresher.corpus.spec import CorpusSpec

Int64Array = npt.NDArray[np.int64]

NOT_READ = -1
NOT_USED = -1


class Quotas:
    """Documents of a source and split are used in packing order until its quota of tokens is met."""

    def __init__(self, spec: CorpusSpec, deal: Deal) -> None:
        self._spec, self._deal = spec, deal
        self._per_document = 0 if spec.separator_token is None else 1

    def wanted(self, num_tokens_D: Int64Array, bytes_per_token: float) -> npt.NDArray[np.bool_]:
        """Documents to read, as far as can be known: enough to meet each quota, if tokens are so long.

        `num_tokens_D` holds NOT_READ where a document was not read yet. None is wanted once all quotas are met.
        """
        wanted_D = np.zeros(len(self._deal), np.bool_)
        for documents, quota in self._groups():
            num_tokens = num_tokens_D[documents]
            num_read = int((num_tokens != NOT_READ).sum())
            assert (num_tokens[:num_read] != NOT_READ).all(), "documents are read in packing order"
            left = quota - (num_tokens[:num_read] + self._per_document).sum()
            if left > 0:
                unread = documents[num_read:]
                expected = self._deal.places_D["num_bytes"][unread] / bytes_per_token
                expected = np.minimum(expected, self._spec.max_document_tokens)
                wanted_D[unread[: np.searchsorted(np.cumsum(expected), left) + 1]] = True
        return wanted_D

    def taken(self, num_tokens_D: Int64Array) -> Int64Array:
        """Tokens that each document gives, NOT_USED where its quota was met before it."""
        taken_D = np.full(len(self._deal), NOT_USED, np.int64)
        for documents, quota in self._groups():
            read = documents[num_tokens_D[documents] != NOT_READ]
            num_tokens = num_tokens_D[read]
            before = np.cumsum(num_tokens + self._per_document) - num_tokens - self._per_document
            used = before < quota
            taken_D[read[used]] = np.minimum(num_tokens, quota - before)[used]
        return taken_D

    def sequences_of(self, split: str) -> int:
        """Sequences that a split may have at most."""
        share: float = getattr(self._spec.splits, split)
        return round(self._spec.max_tokens * share) // self._spec.sequence_length

    def _groups(self) -> Iterator[tuple[Int64Array, int]]:
        """The documents of each source and split, in packing order, and their quota.

        It is one sequence over, so that rounding leaves no split short.
        """
        total = sum(source.share for source in self._spec.sources)
        places_D = self._deal.places_D
        for source_index, source in enumerate(self._spec.sources):
            for split_index, split in enumerate(SPLITS):
                wanted = round(
                    self._spec.max_tokens * source.share / total * getattr(self._spec.splits, split)
                )
                if wanted:
                    is_member = (places_D["source"] == source_index) & (places_D["split"] == split_index)
                    yield np.flatnonzero(is_member), wanted + self._spec.sequence_length
