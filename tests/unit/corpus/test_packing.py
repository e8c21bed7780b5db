import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from thresher.corpus.packing import Packer
from thresher.corpus.tokenised import PLAIN_TEXT, TEMPLATE, TokenisedDocument

BOS, SEP = 1000, 1001
USER, ASSISTANT = 1, 2


def _document(tokens, roles=None):
    roles = [PLAIN_TEXT] * len(tokens) if roles is None else roles
    return TokenisedDocument(np.array(tokens, np.int32), np.array(roles, np.int16))


def _pack(documents, length, bos, separator):
    packer = Packer(length, bos, separator)
    return [sequence for doc_id, document in documents for sequence in packer.add(doc_id, document)]


def test_bos_and_separator_stand_where_the_docstring_says():
    packed = _pack([("a", _document([1, 2])), ("b", _document([3, 4, 5, 6]))], 4, BOS, SEP)
    assert [item.token_ids.tolist() for item in packed] == [[BOS, 1, 2, SEP], [BOS, 3, 4, 5]]
    assert [item.segments for item in packed] == [[("a", 0, 4)], [("b", 0, 4)]]
    assert [item.roles for item in packed] == [[], []]


def test_a_document_that_begins_with_bos_gets_no_second_one():
    packed = _pack([("a", _document([BOS, 1, 2, BOS])), ("b", _document([BOS, 3]))], 3, BOS, None)
    assert [item.token_ids.tolist() for item in packed] == [[BOS, 1, 2], [BOS, BOS, BOS]]
    assert [item.segments for item in packed] == [[("a", 0, 3)], [("a", 0, 2), ("b", 2, 1)]]


def test_bos_and_separator_of_a_chat_are_the_templates_and_text_has_no_role():
    chat = _document([1, 2, 3, 4], [TEMPLATE, USER, USER, ASSISTANT])
    packed = _pack([("a", chat), ("b", _document([5, 6, 7]))], 5, BOS, SEP)
    assert [item.token_ids.tolist() for item in packed] == [[BOS, 1, 2, 3, 4], [BOS, SEP, 5, 6, 7]]
    assert packed[0].roles == [(TEMPLATE, 0, 2), (USER, 2, 2), (ASSISTANT, 4, 1)]
    assert packed[1].roles == [(TEMPLATE, 0, 2)]


documents = st.lists(
    st.lists(
        st.tuples(st.integers(0, 99), st.sampled_from([TEMPLATE, USER, ASSISTANT])), min_size=1, max_size=30
    )
    | st.lists(st.tuples(st.integers(0, 99), st.just(PLAIN_TEXT)), min_size=1, max_size=30),
    max_size=20,
)


@given(documents, st.integers(3, 12), st.sampled_from([None, BOS]), st.sampled_from([None, SEP]))
def test_no_token_is_lost_doubled_or_given_to_another_document_or_role(texts, length, bos, separator):
    named = [(f"d{index}", pairs) for index, pairs in enumerate(texts)]
    packed = _pack(
        [(name, _document(*zip(*pairs, strict=True))) for name, pairs in named], length, bos, separator
    )
    expected = []
    for name, pairs in named:
        around = PLAIN_TEXT if pairs[0][1] == PLAIN_TEXT else TEMPLATE
        expected += [(name, *pair) for pair in pairs]
        expected += [] if separator is None else [(name, separator, around)]
    found = []
    for item in packed:
        assert len(item.token_ids) == length
        assert (bos is None) or item.token_ids[0] == bos
        roles = [PLAIN_TEXT] * length
        for role, start, count in item.roles:
            roles[start : start + count] = [role] * count
        position = 0
        for doc_id, start, count in item.segments:
            assert start == position
            rows = [(doc_id, int(item.token_ids[at]), roles[at]) for at in range(start, start + count)]
            found += rows[1:] if start == 0 and bos is not None else rows
            position += count
        assert position == length
    assert found == expected[: len(found)]
    assert len(expected) - len(found) < length
