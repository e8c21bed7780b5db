"""Several orders woven into one by weights, with exact shares and without state.

Offsets repeat a pattern of sources. At every offset the source that is furthest behind its share comes next, so that
any stretch of the line holds of each source its share of rows to within two (the quota method of Tijdeman 1980, "The
chairman assignment problem", keeps it within one from the start). What a source gives at its turn is the next row of
its own order: where that stands is counted, not remembered.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from thresher.activations.shuffle import IndexArray, RowOrder, RowRange

MAX_PATTERN = 1 << 16


@dataclass(frozen=True)
class MixedOrder:
    """Rows of several sources, numbered source after source."""

    orders: Sequence[RowOrder]
    """Of each source, over its own rows from 0."""
    first_rows: Sequence[int]
    """What the first row of each source is called here."""
    weights: Sequence[float]

    def items(self, start: int, stop: int) -> IndexArray:
        """Rows at offsets [start, stop) of the line."""
        sources_N = self._pattern.sources[np.arange(start, stop) % len(self._pattern.sources)]
        rows_N = np.empty(stop - start, np.int64)
        for source, (first, last) in enumerate(self._turns(start, stop)):
            rows_N[sources_N == source] = self.orders[source].items(first, last) + self.first_rows[source]
        return rows_N

    def ahead(self, start: int, stop: int) -> list[RowRange]:
        """Those of every source."""
        return [
            (first + self.first_rows[source], last + self.first_rows[source])
            for source, turns in enumerate(self._turns(start, stop))
            for first, last in self.orders[source].ahead(*turns)
        ]

    def _turns(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Which offsets of its own order each source gives to [start, stop)."""
        pattern = self._pattern
        before, after = (pattern.turns_before(offset) for offset in (start, stop))
        return [(int(first), int(last)) for first, last in zip(before, after, strict=True)]

    @cached_property
    def _pattern(self) -> "_Pattern":
        return _Pattern.of(self.weights)


@dataclass(frozen=True)
class _Pattern:
    sources: IndexArray
    """Source of each place."""
    counts: IndexArray
    """[places + 1, sources]: turns of each source before each place."""

    @classmethod
    def of(cls, weights: Sequence[float]) -> "_Pattern":
        quotas = np.array(whole_quotas(weights), np.int64)
        length = int(quotas.sum())
        taken = np.zeros(len(quotas), np.int64)
        sources = np.empty(length, np.int64)
        counts = np.zeros((length + 1, len(quotas)), np.int64)
        for place in range(length):
            # Of the sources that may have another turn by now, the one whose turn is due the soonest.
            may = taken * length < quotas * (place + 1)
            due = np.where(may, -(-(taken + 1) * length // np.maximum(quotas, 1)), length + 1)
            chosen = int(due.argmin())
            taken[chosen] += 1
            sources[place] = chosen
            counts[place + 1] = taken
        assert (taken == quotas).all(), "a pattern holds every turn"
        return cls(sources, counts)

    def turns_before(self, offset: int) -> IndexArray:
        rounds, place = divmod(offset, len(self.sources))
        return np.asarray(rounds * self.counts[-1] + self.counts[place])


def whole_quotas(weights: Sequence[float]) -> list[int]:
    """The smallest whole numbers in the proportion of the weights as they are written, such as 3 and 1 of 1 and 0.3333…

    Where those would make a pattern of over 65,536 places, the nearest of that many (largest remainders), none below 1.
    """
    exact = [Fraction(str(weight)) for weight in weights]
    scale = math.lcm(*(fraction.denominator for fraction in exact))
    whole = [int(fraction * scale) for fraction in exact]
    common = math.gcd(*whole)
    if sum(whole) // common <= MAX_PATTERN:
        return [quota // common for quota in whole]
    total = sum(exact)
    shares = [fraction / total * MAX_PATTERN for fraction in exact]
    quotas = [max(1, int(share)) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda index: int(shares[index]) - shares[index])
    for index in by_remainder[: max(0, MAX_PATTERN - sum(quotas))]:
        quotas[index] += 1
    return quotas
