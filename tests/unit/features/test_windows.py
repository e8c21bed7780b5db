"""Windows tile a sequence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thresher.contracts.errors import SpecError
from thresher.features.windows import WindowGrid


@given(min_position=st.integers(0, 5), length=st.integers(1, 20), rest=st.integers(0, 60))
def test_windows_cover_every_position_and_no_other(min_position: int, length: int, rest: int) -> None:
    grid = WindowGrid(min_position + length + rest, min_position, length)
    covered = {position for start in grid.starts.tolist() for position in range(start, start + length)}
    assert covered == set(range(min_position, grid.sequence_length))
    gaps = [after - before for before, after in zip(grid.starts[:-2], grid.starts[1:-1], strict=True)]
    assert all(gap == length for gap in gaps)


def test_windows_that_do_not_fit_are_refused_with_the_range() -> None:
    with pytest.raises(SpecError, match="1 to 15") as raised:
        WindowGrid(sequence_length=16, min_position=1, length=16)
    assert raised.value.field == "context_tokens"
