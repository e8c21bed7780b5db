"""Seeded random priorities: a function of what is sampled alone, whatever the order of reading."""

import numpy as np
import numpy.typing as npt

UInt64s = npt.NDArray[np.uint64]


def priority(seed: int, *parts: npt.NDArray[np.integer] | int) -> UInt64s:
    """A uniform 64-bit number for each combination of `parts`, which broadcast together.

    Chains the finaliser of SplitMix64 (Steele, Lea and Flood 2014, figure 17) over the parts. Keeping the
    entries of lowest priority draws a uniform sample without replacement (bottom-k sampling, Cohen and
    Kaplan 2007) that merges over shards in any order.
    """
    state = _mix(np.asarray(seed, dtype=np.uint64))
    for part in parts:
        state = _mix(state ^ np.asarray(part).astype(np.uint64))
    return state


def _mix(state: UInt64s) -> UInt64s:
    with np.errstate(over="ignore"):  # arithmetic is modulo 2^64 by definition
        z = state + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
