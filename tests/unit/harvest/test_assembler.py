import pytest
import torch

from thresher.harvest.assembler import CoverageError, SequenceAssembler

LENGTH = 4
SITE = "resid_post.0"


def _rows(sequence, start, count):
    """Each value says which sequence and position it is."""
    return {SITE: torch.tensor([[sequence * 10.0 + start + i] for i in range(count)])}


def _assembler(num_sequences=3, first=5):
    return SequenceAssembler([SITE], first, num_sequences, LENGTH)


def test_gives_sequences_in_order_whatever_the_order_they_finish_in():
    assembler = _assembler()
    for sequence in (7, 6, 5):
        assert assembler.take_whole(3) == []
        assembler.add(sequence, 0, _rows(sequence, 0, LENGTH))
    taken = assembler.take_whole(3)
    assert [float(item[SITE][0]) for item in taken] == [50.0, 60.0, 70.0]
    assembler.assert_complete()


def test_chunks_of_a_sequence_meet():
    assembler = _assembler(num_sequences=1)
    assembler.add(5, 0, _rows(5, 0, 3))
    assert assembler.take_whole(1) == []
    assembler.add(5, 3, _rows(5, 3, 1))
    assert assembler.take_whole(1)[0][SITE].flatten().tolist() == [50.0, 51.0, 52.0, 53.0]


def test_a_preempted_sequence_starts_again():
    assembler = _assembler(num_sequences=1)
    assembler.add(5, 0, _rows(9, 0, 3))
    assembler.add(5, 0, _rows(5, 0, LENGTH))
    assert assembler.take_whole(1)[0][SITE].flatten().tolist() == [50.0, 51.0, 52.0, 53.0]


@pytest.mark.parametrize(
    ("start", "count"), [(1, 2), (3, 2), (5, 1)], ids=["a row again", "past the end", "a row left out"]
)
def test_refuses_rows_that_do_not_follow(start, count):
    assembler = _assembler(num_sequences=1)
    assembler.add(5, 0, _rows(5, 0, 3))
    with pytest.raises(CoverageError, match="Sequence 5"):
        assembler.add(5, start, _rows(5, start, count))


@pytest.mark.parametrize("sequence", [4, 8])
def test_refuses_sequences_of_another_shard(sequence):
    with pytest.raises(CoverageError, match=str(sequence)):
        _assembler().add(sequence, 0, _rows(sequence, 0, LENGTH))


def test_refuses_a_sequence_that_was_handed_on():
    assembler = _assembler()
    assembler.add(5, 0, _rows(5, 0, LENGTH))
    assert len(assembler.take_whole(1)) == 1
    with pytest.raises(CoverageError, match="twice"):
        assembler.add(5, 0, _rows(5, 0, LENGTH))


def test_a_missing_site_is_named():
    assembler = SequenceAssembler([SITE, "mlp_out.1"], 5, 1, LENGTH)
    with pytest.raises(CoverageError, match=r"mlp_out\.1"):
        assembler.add(5, 0, _rows(5, 0, LENGTH))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_located(value):
    assembler = _assembler(num_sequences=1)
    rows = _rows(5, 0, LENGTH)
    rows[SITE][2] = value
    assembler.add(5, 0, rows)
    with pytest.raises(CoverageError, match="sequence 5, position 2"):
        assembler.take_whole(1)


def test_incomplete_shards_say_what_is_missing():
    assembler = _assembler()
    assembler.add(5, 0, _rows(5, 0, LENGTH))
    assembler.take_whole(1)
    with pytest.raises(CoverageError, match="Sequences 6 to 7"):
        assembler.assert_complete()
