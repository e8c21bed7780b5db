import pytest
import torch

from thresher.activations.row_encoding import DenseEncoding, DenseRows
from thresher.harvest.assembler import CoverageError, SequenceAssembler

LENGTH = 4
SITE = "resid_post.0"


def _rows(sequence: int, start: int, count: int) -> dict[str, DenseRows]:
    """Each value says which sequence and position it is."""
    x_ND = torch.tensor([[sequence * 10.0 + start + i] for i in range(count)]).reshape(count, 1)
    return {SITE: DenseEncoding("bfloat16", 1).encode(x_ND)}


def _values(sequences) -> list[float]:
    return [float(x) for chunks in sequences for chunk in chunks for x in chunk[SITE].columns["x"]]


def _assembler(num_sequences=3, first=5):
    return SequenceAssembler([SITE], first, num_sequences, LENGTH)


def test_gives_sequences_in_order_whatever_the_order_they_finish_in():
    assembler = _assembler()
    for sequence in (7, 6, 5):
        assert assembler.take_whole(3) == []
        assembler.add(sequence, 0, LENGTH, _rows(sequence, 0, LENGTH))
    expected = [sequence * 10 + position for sequence in (5, 6, 7) for position in range(LENGTH)]
    assert _values(assembler.take_whole(3)) == expected
    assembler.assert_complete()


def test_chunks_of_a_sequence_meet():
    assembler = _assembler(num_sequences=1)
    assembler.add(5, 0, 3, _rows(5, 0, 3))
    assert assembler.take_whole(1) == []
    assembler.add(5, 3, 1, _rows(5, 3, 1))
    assert _values(assembler.take_whole(1)) == [50.0, 51.0, 52.0, 53.0]


def test_positions_count_as_covered_where_their_rows_are_not_selected():
    assembler = _assembler(num_sequences=1)
    assembler.add(5, 0, 3, _rows(5, 2, 1))
    assembler.add(5, 3, 1, _rows(5, 3, 0))
    assert _values(assembler.take_whole(1)) == [52.0]
    assembler.assert_complete()


def test_a_preempted_sequence_starts_again():
    assembler = _assembler(num_sequences=1)
    assembler.add(5, 0, 3, _rows(9, 0, 3))
    assembler.add(5, 0, LENGTH, _rows(5, 0, LENGTH))
    assert _values(assembler.take_whole(1)) == [50.0, 51.0, 52.0, 53.0]


@pytest.mark.parametrize(
    ("start", "count"), [(1, 2), (3, 2), (5, 1)], ids=["a row again", "past the end", "a row left out"]
)
def test_refuses_rows_that_do_not_follow(start, count):
    assembler = _assembler(num_sequences=1)
    assembler.add(5, 0, 3, _rows(5, 0, 3))
    with pytest.raises(CoverageError, match="Sequence 5"):
        assembler.add(5, start, count, _rows(5, start, count))


@pytest.mark.parametrize("sequence", [4, 8])
def test_refuses_sequences_of_another_shard(sequence):
    with pytest.raises(CoverageError, match=str(sequence)):
        _assembler().add(sequence, 0, LENGTH, _rows(sequence, 0, LENGTH))


def test_refuses_a_sequence_that_was_handed_on():
    assembler = _assembler()
    assembler.add(5, 0, LENGTH, _rows(5, 0, LENGTH))
    assert assembler.take_whole(1)
    with pytest.raises(CoverageError, match="twice"):
        assembler.add(5, 0, LENGTH, _rows(5, 0, LENGTH))


def test_a_site_without_rows_is_named():
    assembler = SequenceAssembler([SITE, "mlp_out.3"], 5, 1, LENGTH)
    with pytest.raises(CoverageError, match=r"mlp_out\.3"):
        assembler.add(5, 0, LENGTH, _rows(5, 0, LENGTH))


def test_sites_must_agree_in_their_number_of_rows():
    assembler = SequenceAssembler([SITE, "mlp_out.3"], 5, 1, LENGTH)
    uneven = _rows(5, 0, LENGTH) | {"mlp_out.3": _rows(5, 0, 2)[SITE]}
    with pytest.raises(CoverageError, match="different numbers"):
        assembler.add(5, 0, LENGTH, uneven)


def test_what_is_missing_at_the_end_is_named():
    assembler = _assembler()
    assembler.add(5, 0, LENGTH, _rows(5, 0, LENGTH))
    assembler.take_whole(1)
    with pytest.raises(CoverageError, match="6 to 7"):
        assembler.assert_complete()
