"""Whose label is tried on whose contexts."""

import numpy as np


def derangements(num_items: int, count: int, seed: int) -> list[list[int]]:
    """Up to `count` permutations of range(num_items) that leave nothing in place and never agree with one another.

    Cyclic shifts, by distinct amounts, along one random order; there are `num_items - 1` of them.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(num_items)
    shifts = generator.permutation(np.arange(1, num_items))[:count]
    partners = []
    for shift in shifts:
        partner = np.empty(num_items, np.int64)
        partner[order] = np.roll(order, -int(shift))
        partners.append([int(index) for index in partner])
    return partners
