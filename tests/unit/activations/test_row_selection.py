import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.handmade_corpora import write_corpus
from thresher.activations.row_selection import RowSelector
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import SplitRange
from thresher.contracts.row_selection import RowSelection
from thresher.storage import open_store

NUM_SEQUENCES, LENGTH = 8, 6
TOKEN_IDS_SL = np.arange(NUM_SEQUENCES * LENGTH).reshape(NUM_SEQUENCES, LENGTH) % 11
ROLES = [
    [("template", 0, 1), ("user", 1, 2), ("assistant", 3, 2)] if index % 2 else [("assistant", 0, 6)]
    for index in range(NUM_SEQUENCES - 1)
] + [[]]


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    store = open_store(tmp_path_factory.mktemp("store").as_uri())
    return write_corpus(store, TOKEN_IDS_SL, ROLES, special_token_ids=[0, 7])


def _mask(sequences, start=0, stop=NUM_SEQUENCES, **selection):
    return RowSelector(RowSelection(**selection), sequences.manifest).mask(sequences, start, stop)


def _role_of(sequence, position):
    return next((role for role, first, count in ROLES[sequence] if first <= position < first + count), None)


selections = st.builds(
    RowSelection,
    min_position=st.integers(0, LENGTH - 1),
    skip_special_tokens=st.booleans(),
    skip_tokens=st.lists(st.integers(0, 12), max_size=3).map(tuple),
    roles=st.none() | st.sampled_from([("user",), ("assistant",), ("user", "template")]),
)


@given(selections)
def test_a_position_is_kept_if_it_passes_every_filter(sequences, selection):
    mask_SL = RowSelector(selection, sequences.manifest).mask(sequences, 0, NUM_SEQUENCES)
    assert mask_SL.shape == (NUM_SEQUENCES, LENGTH)
    for sequence in range(NUM_SEQUENCES):
        for position in range(LENGTH):
            token = TOKEN_IDS_SL[sequence, position]
            kept = (
                position >= selection.min_position
                and not (selection.skip_special_tokens and token in (0, 7))
                and token not in selection.skip_tokens
                and (selection.roles is None or _role_of(sequence, position) in selection.roles)
            )
            assert mask_SL[sequence, position] == kept


@given(selections, st.floats(0.1, 1), st.integers(0, 2**70), st.data())
def test_the_mask_hangs_on_the_position_and_not_on_the_range(sequences, selection, fraction, seed, data):
    selector = RowSelector(
        selection.model_copy(update={"fraction": fraction, "seed": seed}), sequences.manifest
    )
    start = data.draw(st.integers(0, NUM_SEQUENCES - 1))
    stop = data.draw(st.integers(start + 1, NUM_SEQUENCES))
    whole_SL = selector.mask(sequences, 0, NUM_SEQUENCES)
    assert np.array_equal(selector.mask(sequences, start, stop), whole_SL[start:stop])


def test_the_default_keeps_all(sequences):
    assert RowSelection(seed=3).keeps_all
    assert _mask(sequences, seed=3).all()


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.9])
def test_the_fraction_is_met_in_every_row_and_column(tmp_path, fraction):
    num_sequences, length = 400, 200
    sequences = write_corpus(
        open_store(tmp_path.as_uri()), np.zeros((num_sequences, length)), sequences_per_file=400
    )
    mask_SL = _mask(sequences, stop=num_sequences, fraction=fraction, seed=5)
    spread = (fraction * (1 - fraction)) ** 0.5
    assert abs(mask_SL.mean() - fraction) < 4 * spread / mask_SL.size**0.5
    assert np.abs(mask_SL.mean(axis=0) - fraction).max() < 5 * spread / num_sequences**0.5
    assert np.abs(mask_SL.mean(axis=1) - fraction).max() < 5 * spread / length**0.5
    # A run of kept neighbours is as frequent as independent draws make it.
    pairs = (mask_SL[:, 1:] & mask_SL[:, :-1]).mean()
    assert abs(pairs - fraction**2) < 5 * fraction / mask_SL.size**0.5


def test_another_seed_draws_other_rows_and_a_larger_fraction_of_one_seed_keeps_them(sequences):
    first, larger = _mask(sequences, fraction=0.4), _mask(sequences, fraction=0.6)
    assert (first <= larger).all()
    assert (first != larger).any()
    assert (first != _mask(sequences, fraction=0.4, seed=1)).any()


def test_the_selected_rows_keep_their_address(sequences):
    mask_SL = _mask(sequences, 1, 5, skip_tokens=(2, 3), fraction=0.5)
    rows = sequences.rows(1, 5, mask_SL)
    at = np.argwhere(mask_SL)
    assert 0 < rows.num_rows == len(at) < mask_SL.size
    assert rows["sequence"].to_pylist() == (at[:, 0] + 1).tolist()
    assert rows["position"].to_pylist() == at[:, 1].tolist()
    assert rows["token_id"].to_pylist() == TOKEN_IDS_SL[1:5][mask_SL].tolist()
    assert rows["doc_id"].to_pylist() == [f"doc{sequence + 1}" for sequence in at[:, 0]]
    assert rows.schema == sequences.rows(1, 5).schema


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        ({"roles": ("system",)}, ["selection.roles", "system", "assistant, template, user"]),
        ({"roles": ()}, ["selection.roles", "assistant, template, user"]),
        ({"min_position": LENGTH}, ["selection.min_position", "0 to 5"]),
    ],
)
def test_what_the_corpus_does_not_have_is_refused(sequences, selection, words):
    with pytest.raises(SpecError) as caught:
        _mask(sequences, **selection)
    for word in words:
        assert word in str(caught.value)


def test_roles_of_plain_text_are_refused(tmp_path):
    sequences = write_corpus(open_store(tmp_path.as_uri()), TOKEN_IDS_SL)
    with pytest.raises(SpecError, match="plain text"):
        _mask(sequences, roles=("user",))


def test_a_selection_that_keeps_no_row_of_a_split_is_refused(sequences):
    splits = [SplitRange(split="fit", start=0, stop=7), SplitRange(split="report", start=7, stop=8)]
    RowSelector(RowSelection(skip_special_tokens=True), sequences.manifest).check(sequences, splits)
    with pytest.raises(SpecError, match="no row of split report"):
        RowSelector(RowSelection(roles=("user",)), sequences.manifest).check(sequences, splits)
