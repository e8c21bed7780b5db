from hypothesis import given
from hypothesis import strategies as st

from thresher.corpus.packing import Packer

BOS, SEP = 1000, 1001


def _pack(documents, length, bos, separator):
    packer = Packer(length, bos, separator)
    return [sequence for doc_id, tokens in documents for sequence in packer.add(doc_id, tokens)]


def test_bos_and_separator_stand_where_the_docstring_says():
    packed = _pack([("a", [1, 2]), ("b", [3, 4, 5, 6])], 4, BOS, SEP)
    assert [item.token_ids.tolist() for item in packed] == [[BOS, 1, 2, SEP], [BOS, 3, 4, 5]]
    assert [item.segments for item in packed] == [[("a", 0, 4)], [("b", 0, 4)]]


documents = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=30), max_size=20)


@given(documents, st.integers(3, 12), st.sampled_from([None, BOS]), st.sampled_from([None, SEP]))
def test_no_token_is_lost_doubled_or_given_to_another_document(texts, length, bos, separator):
    named = [(f"d{index}", tokens) for index, tokens in enumerate(texts)]
    packed = _pack(named, length, bos, separator)
    expected = [
        (name, token)
        for name, tokens in named
        for token in (tokens if separator is None else [*tokens, separator])
    ]
    found = []
    for item in packed:
        assert len(item.token_ids) == length
        assert (bos is None) or item.token_ids[0] == bos
        position = 0
        for doc_id, start, count in item.segments:
            assert start == position
            tokens = item.token_ids[start : start + count].tolist()
            found += [(doc_id, token) for token in (tokens[1:] if start == 0 and bos is not None else tokens)]
            position += count
        assert position == length
    assert found == expected[: len(found)]
    assert len(expected) - len(found) < length
