import pytest

from thresher.labeling.shuffling import derangements


@pytest.mark.parametrize("num_items", [2, 3, 7, 50])
def test_no_fixed_point_and_no_agreement(num_items: int) -> None:
    found = derangements(num_items, 3, seed=5)
    assert len(found) == min(3, num_items - 1)
    for partner in found:
        assert sorted(partner) == list(range(num_items))
        assert all(other != index for index, other in enumerate(partner))
    for index in range(num_items):
        assert len({partner[index] for partner in found}) == len(found)


def test_seed_decides() -> None:
    assert derangements(50, 1, seed=1) == derangements(50, 1, seed=1) != derangements(50, 1, seed=2)


@pytest.mark.parametrize("num_items", [0, 1])
def test_too_few_to_shuffle(num_items: int) -> None:
    assert derangements(num_items, 1, seed=0) == []
