import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.handmade_corpora import write_corpus
from thresher.contracts import schemas
from thresher.storage import open_store

NUM_SEQUENCES, LENGTH = 11, 5
TOKEN_IDS_SL = np.arange(NUM_SEQUENCES * LENGTH).reshape(NUM_SEQUENCES, LENGTH)


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    return write_corpus(open_store(tmp_path_factory.mktemp("store").as_uri()), TOKEN_IDS_SL)


ranges = st.tuples(st.integers(0, NUM_SEQUENCES - 1), st.integers(1, NUM_SEQUENCES)).map(
    lambda pair: (pair[0], max(pair[0] + 1, pair[1]))
)


@given(ranges)
def test_any_range_over_any_files_is_read(sequences, span):
    start, stop = span
    assert np.array_equal(sequences.token_ids(start, stop), TOKEN_IDS_SL[start:stop])
    assert sequences.segments(start, stop) == [[(f"doc{index}", 0, LENGTH)] for index in range(start, stop)]
    assert sequences.table(start, stop).schema.equals(schemas.SEQUENCES)


@given(ranges, st.data())
def test_rows_are_those_of_the_mask_in_order(sequences, span, data):
    start, stop = span
    mask_SL = np.array(
        data.draw(st.lists(st.booleans(), min_size=(stop - start) * LENGTH, max_size=(stop - start) * LENGTH))
    ).reshape(-1, LENGTH)
    rows = sequences.rows(start, stop, mask_SL)
    at = np.argwhere(mask_SL)
    assert rows.schema == schemas.ROWS
    assert rows["sequence"].to_pylist() == (at[:, 0] + start).tolist()
    assert rows["position"].to_pylist() == at[:, 1].tolist()
    assert rows["token_id"].to_pylist() == TOKEN_IDS_SL[start:stop][mask_SL].tolist()
    assert rows["doc_id"].to_pylist() == [f"doc{index + start}" for index in at[:, 0]]


@pytest.mark.parametrize("shape", [(2, LENGTH), (3, LENGTH - 1)])
def test_a_mask_of_another_shape_is_an_error(sequences, shape):
    with pytest.raises(AssertionError, match="mask"):
        sequences.rows(0, 3, np.ones(shape, np.bool_))


@pytest.mark.parametrize("span", [(-1, 2), (3, 3), (5, NUM_SEQUENCES + 1)])
def test_a_range_out_of_the_corpus_is_an_error(sequences, span):
    with pytest.raises(AssertionError, match="out of the corpus"):
        sequences.table(*span)
