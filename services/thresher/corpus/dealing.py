"""Order, de-duplication and split of documents: each a function of the seed and the document alone.

Of a document nothing is kept but its place: about 100 bytes at the peak, whatever its text.

Shape suffixes: A documents as they arrive, D documents that are dealt.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thresher.activations.split_shares import SplitShares
from thresher.contracts.errors import SpecError
from thresher.contracts.ids import sha256_hex
from thresher.contracts.manifests import SPLITS
from thresher.corpus.document import Document

PLACE = np.dtype(
    [
        ("order_high", "<u8"),
        ("order_low", "<u8"),
        ("doc_id", "<u8"),  # hash of it
        ("num_bytes", "<u4"),
        ("source", "<u2"),
        ("split", "u1"),
    ]
)
PACKED_PLACE = struct.Struct("<QQQIHB")
MAX_BYTES = 2**32 - 1


@dataclass(frozen=True)
class Deal:
    """The documents of a corpus in the order in which they are packed."""

    places_D: npt.NDArray[Any]
    """PLACE of each."""
    arrivals_D: npt.NDArray[np.int64]
    """Where each came among all documents read, duplicates included."""

    def __len__(self) -> int:
        return len(self.places_D)

    def sha256(self) -> str:
        """Stands for the documents' ids and content: the order is a hash of each text."""
        return sha256_hex(self.places_D.tobytes())


class Dealer:
    """Takes documents one by one, then deals them all."""

    def __init__(self, shares: SplitShares, seed: int) -> None:
        self._shares, self._seed = shares, seed
        self._places = bytearray()

    def add(self, source: int, document: Document) -> None:
        content = document.content_bytes()
        draw, split = _draw(content, self._shares, self._seed)
        self._places += PACKED_PLACE.pack(
            *draw, _id_hash(document.doc_id), min(len(content), MAX_BYTES), source, split
        )

    def is_same(self, place: npt.NDArray[Any], document: Document) -> bool:
        """Whether the document is the one that was added there."""
        draw, _ = _draw(document.content_bytes(), self._shares, self._seed)
        order = (int(place["order_high"]), int(place["order_low"]))
        return draw == order and _id_hash(document.doc_id) == int(place["doc_id"])

    def deal(self) -> Deal:
        """Keep one of the documents that say the same, and put all in a random order.

        The split hangs on the content alone: the same can never lie in two splits, whatever it is called.

        Raises:
            SpecError: two documents that differ have one id.
        """
        places_A = np.frombuffer(self._places, PLACE)
        # Of equal documents one of the first source stays, whatever the order in which they arrive.
        keys = ("doc_id", "source", "order_low", "order_high")
        arrivals_A = np.lexsort([places_A[key] for key in keys])
        high_A, low_A = places_A["order_high"][arrivals_A], places_A["order_low"][arrivals_A]
        first_A = np.ones(len(arrivals_A), np.bool_)
        first_A[1:] = (high_A[1:] != high_A[:-1]) | (low_A[1:] != low_A[:-1])
        arrivals_D = arrivals_A[first_A]
        deal = Deal(places_A[arrivals_D], arrivals_D)
        _check_ids(deal)
        return deal


def _draw(content: bytes, shares: SplitShares, seed: int) -> tuple[tuple[int, int], int]:
    """Order of a document, and the index of its split."""
    draw = hashlib.sha256(b"%d:" % seed + hashlib.sha256(content).digest()).digest()
    at, high, low = struct.unpack_from(">QQQ", draw)
    return (high, low), _split(at / 2**64, shares)


def _split(at: float, shares: SplitShares) -> int:
    for index, split in enumerate(SPLITS[:-1]):
        at -= getattr(shares, split)
        if at < 0:
            return index
    return len(SPLITS) - 1


def _id_hash(doc_id: str) -> int:
    return int.from_bytes(hashlib.sha256(doc_id.encode()).digest()[:8], "little")


def _check_ids(deal: Deal) -> None:
    num_distinct = len(np.unique(deal.places_D["doc_id"]))
    if num_distinct != len(deal):
        raise SpecError(
            "sources",
            f"{len(deal) - num_distinct} documents",
            mend="They have the id of another document, with other content: name an id_field that is unique, leave "
            "it out, or tell sources apart by id_prefix.",
        )
