"""Which split each document falls into, and the order of sequences that makes every split one range.

Shape suffixes: S sequences of the source.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.activations.importer.addresses import Addresses
from thresher.activations.importer.items import IndexArray
from thresher.activations.split_shares import SplitShares
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import SPLITS, SplitRange

CHUNK_SEQUENCES = 65_536


@dataclass(frozen=True)
class Dealt:
    """Sequence s of the harvest is sequence `order_S[s]` of the source: ascending within each split."""

    order_S: IndexArray
    splits: list[SplitRange]
    """Without empty ones."""


def deal(addresses: Addresses, num_sequences: int, shares: SplitShares, seed: int) -> Dealt:
    """One pass over the ids; nine bytes a sequence are kept.

    A document's split hangs on the seed and its id alone, so that it never lies in two.

    Raises:
        SpecError: a split that has a share got nothing.
    """
    split_S = np.empty(num_sequences, np.uint8)
    for first in range(0, num_sequences, CHUNK_SEQUENCES):
        chunk = np.arange(first, min(first + CHUNK_SEQUENCES, num_sequences), dtype=np.int64)
        split_S[chunk] = _splits(addresses.doc_ids(chunk), shares, seed)
    counts = np.bincount(split_S, minlength=len(SPLITS)).tolist()
    for split, count in zip(SPLITS, counts, strict=True):
        if not count and getattr(shares, split):
            raise SpecError(
                f"splits.{split}",
                getattr(shares, split),
                mend=f"None of the {num_sequences:,} sequences fell into it: raise its share, set it to 0, or "
                "change the seed.",
            )
    stops = np.cumsum(counts).tolist()
    ranges = [
        SplitRange(split=split, start=stop - count, stop=stop)
        for split, count, stop in zip(SPLITS, counts, stops, strict=True)
        if count
    ]
    return Dealt(np.argsort(split_S, kind="stable"), ranges)


def _splits(doc_ids: list[str], shares: SplitShares, seed: int) -> npt.NDArray[np.int64]:
    """Index into SPLITS of each document."""
    prefix = b"%d:" % seed
    heads = b"".join(hashlib.sha256(prefix + doc_id.encode()).digest()[:8] for doc_id in doc_ids)
    draws = np.frombuffer(heads, ">u8") / 2.0**64
    bounds = np.cumsum([getattr(shares, split) for split in SPLITS])[:-1]
    drawn: npt.NDArray[np.int64] = np.searchsorted(bounds, draws, side="right")
    return drawn
