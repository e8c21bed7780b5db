"""The sequences of each split, packed from tokenised documents."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import SPLITS, SplitName
from thresher.corpus.dealing import Deal
from thresher.corpus.packing import PackedSequence, Packer
from thresher.corpus.quotas import NOT_USED, Quotas
from thresher.corpus.reading import SpilledDocuments
from thresher.corpus.spec import CorpusSpec
from thresher.corpus.spill import Spill


@dataclass(frozen=True)
class PackedSplits:
    """Packs when asked; every asking gives the same."""

    spec: CorpusSpec
    bos_token_id: int | None
    separator_token_id: int | None
    deal: Deal
    quotas: Quotas
    spilled: SpilledDocuments
    spill: Spill

    def sequences(self, split: SplitName) -> Iterator[PackedSequence]:
        """Documents in the order of the deal, as far as the quotas and the split reach."""
        return islice(self._sequences(split), self.quotas.sequences_of(split))

    def _sequences(self, split: SplitName) -> Iterator[PackedSequence]:
        packer = Packer(self.spec.sequence_length, self.bos_token_id, self.separator_token_id)
        taken_D = self.quotas.taken(self.spilled.num_tokens_D)
        is_member = (self.deal.places_D["split"] == SPLITS.index(split)) & (taken_D != NOT_USED)
        for index in np.flatnonzero(is_member):
            doc_id, document = self.spill.read(int(self.spilled.rows_D[index]))
            yield from packer.add(doc_id, document.cut(int(taken_D[index])))

    def check_filled(self) -> None:
        """Pack one sequence of each split.

        Raises:
            SpecError: the documents do not fill one sequence of a split that has a share.
        """
        for split in SPLITS:
            if getattr(self.spec.splits, split) > 0 and next(self.sequences(split), None) is None:
                raise SpecError(
                    "sources",
                    f"{len(self.spec.sources)} sources",
                    mend=f"Their text fills no sequence of {self.spec.sequence_length} tokens for split {split}: add "
                    "text, raise max_tokens or shorten sequence_length.",
                )
