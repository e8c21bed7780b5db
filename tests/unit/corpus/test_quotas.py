import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thresher.corpus.dealing import Dealer
from thresher.corpus.document import Document
from thresher.corpus.quotas import NOT_READ, NOT_USED, Quotas
from thresher.corpus.spec import CorpusSpec


def _quotas(lengths_of_sources, max_tokens, shares, separator):
    spec = CorpusSpec.parse(
        {
            "root": "file:///r",
            "sources": [{"kind": "jsonl", "path": "x", "share": share} for share in shares],
            "tokenizer": "t",
            "sequence_length": 8,
            "max_tokens": max_tokens,
            "separator_token": "s" if separator else None,
            "max_document_tokens": 40,
        }
    )
    dealer = Dealer(spec.splits, 0)
    for source, lengths in enumerate(lengths_of_sources):
        for index, length in enumerate(lengths):
            dealer.add(source, Document(f"{source}/{index}", f"{source} {index} ".ljust(length), ""))
    deal = dealer.deal()
    return Quotas(spec, deal), deal


lengths = st.lists(st.lists(st.integers(10, 400), max_size=60), min_size=2, max_size=2)


@given(lengths, st.integers(8, 2000), st.floats(0.1, 9), st.booleans(), st.integers(0, 40))
def test_what_is_taken_does_not_hang_on_how_much_was_read(
    lengths_of_sources, max_tokens, share, separator, seed
):
    quotas, deal = _quotas(lengths_of_sources, max_tokens, [1.0, share], separator)
    all_D = np.random.default_rng(seed).integers(0, 41, len(deal))
    read_D = np.full(len(deal), NOT_READ)
    bytes_per_token, passes = 2.0, 0
    while (wanted_D := quotas.wanted(read_D, bytes_per_token)).any():
        assert (read_D[wanted_D] == NOT_READ).all()
        read_D[wanted_D] = all_D[wanted_D]
        bytes_per_token *= 2
        passes += 1
    assert passes < 20
    assert np.array_equal(quotas.taken(read_D), quotas.taken(all_D))


def test_no_more_is_read_than_needed_when_tokens_are_as_long_as_supposed():
    quotas, deal = _quotas([[100] * 400], 400, [1], separator=False)
    wanted_D = quotas.wanted(np.full(len(deal), NOT_READ), bytes_per_token=5.0)
    # 20 tokens a document; each split's quota is one sequence over, and rounds up to whole documents.
    assert 20 <= wanted_D.sum() <= 20 + 3 * 2


@pytest.mark.parametrize("share", [1.0, 3.0])
def test_sources_give_tokens_in_proportion_to_their_shares(share):
    quotas, deal = _quotas([[50] * 900, [50] * 900], 4000, [1.0, share], separator=True)
    taken_D = quotas.taken(np.full(len(deal), 10))
    given = [taken_D[(deal.places_D["source"] == source) & (taken_D != NOT_USED)].sum() for source in (0, 1)]
    assert abs(given[1] / given[0] - share) < 0.1 * share
