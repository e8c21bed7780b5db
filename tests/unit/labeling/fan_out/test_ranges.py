"""How features are dealt to workers."""

import pytest

from thresher.labeling.fan_out.driver import MAX_RANGE, ranges


@pytest.mark.parametrize("num_items", [0, 1, 7, 64, 1000])
@pytest.mark.parametrize("num_workers", [2, 5, 64])
def test_ranges_cover_all_in_order_and_leave_nobody_idle(num_items: int, num_workers: int) -> None:
    parts = ranges(list(range(num_items)), num_workers)
    assert [item for part in parts for item in part] == list(range(num_items))
    assert all(0 < len(part) <= MAX_RANGE for part in parts)
    assert len(parts) >= min(num_items, num_workers)
