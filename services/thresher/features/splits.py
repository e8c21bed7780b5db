"""Which exemplar split a window belongs to: documents are dealt by a hash, windows of two splits belong to none.

Shapes: D documents of a shard, R rows, S sequences, W windows a sequence.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from thresher.activations.codes_reader import CodesShard
from thresher.activations.priority import UInt64s, priority
from thresher.contracts.errors import SpecError
from thresher.contracts.exemplars import EXEMPLAR_SPLITS, ExemplarSplit
from thresher.contracts.manifests import HarvestManifest, SplitName, SplitRange
from thresher.features.spec import SplitShares
from thresher.features.windows import WindowGrid

Int8s = npt.NDArray[np.int8]
NO_SPLIT = -1
DEALT: tuple[ExemplarSplit, ...] = ("explain", "calibrate", "select")
"""The exemplar splits that the corpus's explain split is dealt into, in order of their shares."""
CORPUS_SPLITS: tuple[SplitName, ...] = ("explain", "report")
"""The splits of the corpus that exemplars are taken from."""


class SplitDeal:
    """Deals documents, and windows by the documents of their tokens."""

    def __init__(self, splits: Sequence[SplitRange], shares: SplitShares, seed: int) -> None:
        self._splits, self._seed = splits, seed
        self._bounds = np.cumsum([shares.explain, shares.calibrate])

    def of_documents(self, documents: UInt64s) -> Int8s:
        """[D]: index into EXEMPLAR_SPLITS of each document of the corpus's explain split, by the hash of its id."""
        place = priority(self._seed, documents) / 2.0**64
        return np.searchsorted(self._bounds, place, side="right").astype(np.int8)

    def of_windows(self, shard: CodesShard, documents: UInt64s, grid: WindowGrid) -> Int8s:
        """[S, W]: index into EXEMPLAR_SPLITS, NO_SPLIT where tokens are of documents of two splits or of none."""
        split_R = self._of_rows(shard, documents)
        rows_SL = split_R.reshape(shard.num_sequences, shard.sequence_length)
        tokens_SWC = rows_SL[:, grid.starts[:, None] + np.arange(grid.length)]
        first_SW = tokens_SWC[:, :, 0]
        same_SW = (tokens_SWC == first_SW[:, :, None]).all(axis=2)
        return np.where(same_SW, first_SW, NO_SPLIT).astype(np.int8)

    def _of_rows(self, shard: CodesShard, documents: UInt64s) -> Int8s:
        sequence_R = shard.first_sequence + np.arange(shard.num_rows) // shard.sequence_length
        split_R = np.full(shard.num_rows, NO_SPLIT, np.int8)
        for item in self._splits:
            inside_R = (sequence_R >= item.start) & (sequence_R < item.stop)
            if item.split == "report":
                split_R[inside_R] = EXEMPLAR_SPLITS.index("report")
            else:
                split_R[inside_R] = self.of_documents(documents)[shard.documents[inside_R]]
        return split_R


def exemplar_ranges(harvest: HarvestManifest) -> list[SplitRange]:
    """The splits of the corpus that exemplars are taken from.

    Raises:
        SpecError: the harvest lacks one.
    """
    by_name = {item.split: item for item in harvest.splits}
    missing = [name for name in CORPUS_SPLITS if name not in by_name]
    if missing:
        raise SpecError(
            "harvest",
            harvest.harvest_id,
            mend=f"It lacks the split {missing[0]}. Harvest explain, to make labels, and report, to score.",
        )
    return [by_name[name] for name in CORPUS_SPLITS]


def hash_documents(doc_ids: Sequence[str]) -> UInt64s:
    """64-bit hashes, so that documents can be told apart across shards without holding their ids."""
    digests = b"".join(hashlib.blake2b(doc_id.encode(), digest_size=8).digest() for doc_id in doc_ids)
    return np.frombuffer(digests, np.uint64)
