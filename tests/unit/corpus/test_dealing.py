from thresher.corpus.dealing import deal
from thresher.corpus.sources import Document
from thresher.corpus.spec import SplitShares


def _documents(count):
    return [Document(f"d{index}", f"text {index}") for index in range(count)]


def test_splits_follow_the_shares_and_the_text_alone():
    dealt = deal([_documents(4000)], SplitShares(fit=0.5, explain=0.3, report=0.2), seed=0)
    share = {
        split: sum(item.split == split for item in dealt) / 4000 for split in ("fit", "explain", "report")
    }
    assert abs(share["fit"] - 0.5) < 0.03
    assert abs(share["explain"] - 0.3) < 0.03
    renamed = [Document(f"other{index}", document.text) for index, document in enumerate(_documents(4000))]
    again = deal([renamed], SplitShares(fit=0.5, explain=0.3, report=0.2), seed=0)
    assert [item.split for item in again] == [item.split for item in dealt]


def test_the_same_text_enters_once_over_all_sources():
    dealt = deal(
        [_documents(10), [Document("copy", "text 3"), Document("new", "else")]], SplitShares(), seed=0
    )
    assert sorted(item.document.doc_id for item in dealt) == sorted(
        [f"d{index}" for index in range(10)] + ["new"]
    )


def test_another_seed_deals_another_order():
    first, second = (deal([_documents(50)], SplitShares(), seed=seed) for seed in (0, 1))
    assert [item.document for item in first] != [item.document for item in second]
    assert {item.document for item in first} == {item.document for item in second}
