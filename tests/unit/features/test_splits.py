"""Documents are dealt to one split each, by shares, and windows of two splits belong to none."""

import numpy as np
import pytest

from thresher.activations.codes_reader import CodesShard
from thresher.contracts.errors import SpecError
from thresher.contracts.exemplars import EXEMPLAR_SPLITS
from thresher.contracts.manifests import SplitRange
from thresher.features.spec import SplitShares
from thresher.features.splits import NO_SPLIT, SplitDeal, hash_documents
from thresher.features.windows import WindowGrid

RANGES = [SplitRange(split="explain", start=1, stop=3), SplitRange(split="report", start=3, stop=4)]


def test_documents_are_dealt_by_their_shares_and_the_seed() -> None:
    hashes = hash_documents([f"document {index}" for index in range(20_000)])
    shares = SplitShares(explain=0.5, calibrate=0.2, select=0.3)
    dealt = SplitDeal(RANGES, shares, seed=1).of_documents(hashes)
    found = np.bincount(dealt, minlength=3) / len(dealt)
    assert found == pytest.approx([0.5, 0.2, 0.3], abs=0.015)  # four standard deviations
    assert (SplitDeal(RANGES, shares, seed=2).of_documents(hashes) != dealt).mean() > 0.5
    nothing_to_select = SplitShares(explain=0.5, calibrate=0.5, select=0)
    assert set(SplitDeal(RANGES, nothing_to_select, 1).of_documents(hashes)) == {0, 1}


def test_shares_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(SpecError, match="add up to 1"):
        SplitShares.parse({"explain": 0.5, "calibrate": 0.2, "select": 0.2})


def test_windows_of_two_splits_or_none_belong_to_none() -> None:
    """Sequence 0 is of the fit split; 1 holds two documents that are dealt apart; 2 one; 3 is of report."""
    deal = SplitDeal(RANGES, SplitShares(), seed=0)
    names = [f"document {index}" for index in range(50)]
    dealt = deal.of_documents(hash_documents(names))
    explain, select = (names[int(np.argmax(dealt == index))] for index in (0, 2))
    doc_ids = ["fit", explain, select, "report"]
    documents = np.repeat([0, 1, 2, 1, 3], [8, 5, 3, 8, 8]).astype(np.int32)
    shard = CodesShard(
        first_sequence=0,
        num_sequences=4,
        sequence_length=8,
        row_offsets=np.zeros(33, np.int64),
        latents=np.zeros(0, np.int32),
        values=np.zeros(0, np.float32),
        token_ids=np.zeros(32, np.int32),
        documents=documents,
        doc_ids=doc_ids,
    )
    split_SW = deal.of_windows(shard, hash_documents(doc_ids), WindowGrid(8, 0, 2))
    report = EXEMPLAR_SPLITS.index("report")
    assert split_SW.tolist() == [[NO_SPLIT] * 4, [0, 0, NO_SPLIT, 2], [0] * 4, [report] * 4]
