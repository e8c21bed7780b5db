import numpy as np
import pytest

from thresher.labeling.shuffling import similar_partners


@pytest.mark.parametrize("num_items", [2, 3, 7, 50])
def test_never_itself_and_never_twice(num_items: int) -> None:
    partners = similar_partners([0.01] * num_items, 3, seed=5)
    for item, others in enumerate(partners):
        assert len(set(others)) == len(others) == min(3, num_items - 1)
        assert item not in others
    counts = np.bincount([other for others in partners for other in others], minlength=num_items)
    assert set(counts) == {min(3, num_items - 1)}


def test_partners_fire_about_as_often() -> None:
    densities = np.exp(np.random.default_rng(0).uniform(np.log(1e-5), np.log(0.3), 200))
    partners = similar_partners(list(densities), 2, seed=0)
    ratios = [densities[item] / densities[other] for item, others in enumerate(partners) for other in others]
    assert max(ratios) < 10**0.5


def test_few_of_a_density_are_joined_with_their_neighbours() -> None:
    partners = similar_partners([0.5, 1e-4, 0.4, 1e-6, 0.45], 1, seed=0)
    assert all(len(others) == 1 for others in partners)
    assert {partners[index][0] for index in (1, 3)} <= {0, 1, 2, 3, 4}


def test_seed_decides() -> None:
    many = [0.1] * 50
    assert similar_partners(many, 1, seed=1) == similar_partners(many, 1, seed=1)
    assert similar_partners(many, 1, seed=1) != similar_partners(many, 1, seed=2)


@pytest.mark.parametrize("num_items", [0, 1])
def test_too_few_to_shuffle(num_items: int) -> None:
    assert similar_partners([0.1] * num_items, 1, seed=0) == [[]] * num_items
