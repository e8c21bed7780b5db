"""Rows of a step to selected positions of sequences: chunks, other ranks' sequences, gaps."""

import numpy as np
import torch

from thresher.harvest.runner_adapter import RequestRows
from thresher.harvest.selected_rows import SelectedRows, request_id, sequence_of

LENGTH = 6


class EveryOther:
    """A selector of even positions."""

    def mask(self, _sequences, start, stop):
        return np.tile(np.arange(LENGTH) % 2 == 0, (stop - start, 1))


class Everything:
    def mask(self, _sequences, start, stop):
        return np.ones((stop - start, LENGTH), dtype=bool)


def _step(*items: tuple[int, int, int]) -> tuple[list[RequestRows], torch.Tensor]:
    """Requests as (sequence, start, count), and rows that say 100 * sequence + position."""
    requests, values = [], []
    for sequence, start, count in items:
        requests.append(RequestRows(f"{request_id(sequence)}-a1b2", len(values), count, start))
        values += [100.0 * sequence + position for position in range(start, start + count)]
    return requests, torch.tensor(values)[:, None]


def test_a_request_name_survives_what_vllm_appends():
    assert sequence_of(request_id(17)) == sequence_of("sequence-17-0f3c") == 17


def test_chunks_keep_the_selected_positions_of_their_part():
    rows = SelectedRows(EveryOther())
    rows.open(None, 3, 5)
    requests, x_ND = _step((3, 3, 3), (4, 0, 4))
    taken = rows.take(requests)
    assert taken.gather(x_ND).flatten().tolist() == [304.0, 400.0, 402.0]
    first, second = taken.sequences
    assert (first.sequence, first.start, first.num_positions, first.first_row, first.stop_row) == (
        3,
        3,
        3,
        0,
        1,
    )
    assert (second.sequence, second.start, second.num_positions) == (4, 0, 4)
    assert (second.first_row, second.stop_row) == (1, 3)


def test_sequences_of_other_ranks_are_left_out():
    rows = SelectedRows(Everything())
    rows.open(None, 3, 4)
    requests, x_ND = _step((2, 0, 2), (3, 0, 3), (4, 1, 2))
    taken = rows.take(requests)
    assert [item.sequence for item in taken.sequences] == [3]
    assert taken.gather(x_ND).flatten().tolist() == [300.0, 301.0, 302.0]


def test_neighbouring_rows_are_not_copied():
    rows = SelectedRows(Everything())
    rows.open(None, 3, 5)
    requests, x_ND = _step((3, 0, 2), (4, 0, 3))
    assert rows.take(requests).gather(x_ND).data_ptr() == x_ND.data_ptr()


def test_padding_after_the_last_request_is_never_taken():
    rows = SelectedRows(Everything())
    rows.open(None, 3, 4)
    requests, x_ND = _step((3, 0, 2))
    padded = torch.cat([x_ND, torch.full((5, 1), -1.0)])
    assert rows.take(requests).gather(padded).flatten().tolist() == [300.0, 301.0]


def test_closed_sequences_are_wanted_no_more():
    rows = SelectedRows(Everything())
    rows.open(None, 3, 5)
    assert rows.is_open
    rows.close(3)
    assert not rows.is_open
    requests, _ = _step((3, 0, 2))
    assert rows.take(requests).sequences == []
