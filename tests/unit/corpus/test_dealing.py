import pytest
from hypothesis import given
from hypothesis import strategies as st

from thresher.activations.split_shares import SplitShares
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import SPLITS
from thresher.corpus.dealing import Dealer
from thresher.corpus.document import Document, Message

SHARES = SplitShares(fit=0.5, explain=0.3, report=0.2)


def _documents(count, name="d"):
    return [Document(f"{name}{index}", f"text {index}", "") for index in range(count)]


def _deal(*sources, seed=0):
    dealer = Dealer(SHARES, seed)
    for index, documents in enumerate(sources):
        for document in documents:
            dealer.add(index, document)
    return dealer.deal()


def _dealt(*sources, seed=0):
    arrived = [document for documents in sources for document in documents]
    return [arrived[index] for index in _deal(*sources, seed=seed).arrivals_D]


def test_splits_follow_the_shares_and_the_text_alone():
    splits = _deal(_documents(4000)).places_D["split"]
    for index, split in enumerate(SPLITS):
        assert abs((splits == index).mean() - getattr(SHARES, split)) < 0.03
    assert (_deal(_documents(4000, "other")).places_D["split"] == splits).all()


def test_the_same_text_enters_once_over_all_sources_from_the_first_of_them():
    copies = [Document("copy", "text 3", ""), Document("new", "else", "")]
    dealt = _dealt(_documents(10), copies)
    assert sorted(item.doc_id for item in dealt) == sorted([f"d{index}" for index in range(10)] + ["new"])


def test_another_seed_deals_another_order():
    first, second = (_dealt(_documents(50), seed=seed) for seed in (0, 1))
    assert first != second
    assert {item.doc_id for item in first} == {item.doc_id for item in second}


@given(st.lists(st.text("ab", min_size=1, max_size=3)), st.randoms())
def test_the_hash_of_the_deal_is_that_of_the_set_of_documents(texts, random):
    documents = [Document(f"d{index}", text, "") for index, text in enumerate(texts)]
    deal = _deal(documents)
    random.shuffle(documents)
    assert _deal(documents).sha256() == deal.sha256()
    assert _deal([*documents, Document("more", "".join(texts) + "more", "")]).sha256() != deal.sha256()


def test_another_id_or_source_has_another_hash():
    hashes = [
        _deal([Document("a", "x", "")]).sha256(),
        _deal([Document("b", "x", "")]).sha256(),
        _deal([], [Document("a", "x", "")]).sha256(),
    ]
    assert len(set(hashes)) == 3


def test_conversations_differ_by_role_and_by_where_messages_end():
    conversations = [
        (Message("user", "a"), Message("assistant", "b")),
        (Message("assistant", "a"), Message("user", "b")),
        (Message("user", "ab"),),
        (Message("user", "a"), Message("assistant", "b")),
    ]
    documents = [Document(f"d{index}", content, "") for index, content in enumerate(conversations)]
    assert sorted(item.doc_id for item in _dealt(documents)) == ["d0", "d1", "d2"]


def test_one_id_for_two_texts_is_refused():
    with pytest.raises(SpecError, match=r"1 documents.*id_field"):
        _deal([Document("a", "x", ""), Document("a", "y", "")])


def test_a_document_is_recognised_by_id_and_text():
    dealer = Dealer(SHARES, 0)
    dealer.add(0, Document("a", "x", ""))
    [place] = dealer.deal().places_D
    assert dealer.is_same(place, Document("a", "x", "elsewhere"))
    assert not dealer.is_same(place, Document("a", "y", ""))
    assert not dealer.is_same(place, Document("b", "x", ""))


def test_no_documents_make_an_empty_deal():
    assert len(_deal([])) == 0
