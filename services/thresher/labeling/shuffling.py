"""Whose label is tried on whose texts: those of latents that fire about as often.

A label of a frequent latent is right about many texts, one of a rare latent about few: drawn from all latents, shuffled
labels would be told from true ones by how much they claim.
"""

import math
from collections.abc import Sequence

import numpy as np

BINS_PER_DECADE = 2


def similar_partners(densities: Sequence[float], count: int, seed: int) -> list[list[int]]:
    """Up to `count` other items for each, of the same bin of log density; none of them itself, none twice.

    Within a bin they are cyclic shifts, by distinct amounts, along one random order: each item is partner of as many as
    it has partners. Bins with too few items to go round are joined with their neighbours.
    """
    generator = np.random.default_rng(seed)
    partners: list[list[int]] = [[] for _ in densities]
    for members in _bins(densities, count + 1):
        order = generator.permutation(members)
        for shift in generator.permutation(np.arange(1, len(members)))[:count]:
            for item, other in zip(order, np.roll(order, -int(shift)), strict=True):
                partners[int(item)].append(int(other))
    return partners


def _bins(densities: Sequence[float], least: int) -> list[list[int]]:
    bins: list[list[int]] = []
    last = None
    for item in sorted(range(len(densities)), key=lambda index: (densities[index], index)):
        place = math.floor(BINS_PER_DECADE * math.log10(densities[item])) if densities[item] > 0 else None
        if not bins or (place != last and len(bins[-1]) >= least):
            bins.append([])
        bins[-1].append(item)
        last = place
    if len(bins) > 1 and len(bins[-1]) < least:
        rest = bins.pop()
        bins[-1].extend(rest)
    return bins
