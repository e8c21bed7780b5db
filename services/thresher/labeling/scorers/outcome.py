"""What a scorer says of one label on one feature's trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from thresher.contracts.states import State
from thresher.labeling.scorers.intervals import UNDEFINED, Estimate
from thresher.labeling.scorers.observations import Observations
from thresher.labeling.scorers.reading import Reading


@dataclass(frozen=True)
class Outcome:
    """A score, or the state that stands in its place.

    Args:
        num_scored: observations that entered the estimate: tokens for simulation, texts for detection.
        num_unparsed: observations that were asked for and came back without a usable answer.
        sample_sha256: the texts asked about.
        lift: what the score adds over that of shuffled labels.
        digit_mass: mean probability on digits where one was due, for simulation.
    """

    state: State
    estimate: Estimate
    num_scored: int
    num_unparsed: int
    sample_sha256: str
    lift: Estimate = UNDEFINED
    digit_mass: float | None = None


def outcome_of(
    observed: Observations, estimate: Estimate, lift: Estimate, sample: str, digit_mass: float | None
) -> Outcome:
    """OK if the estimate is defined and most observations were parsed; else no value, and the reason."""
    num_scored, num_unparsed = observed.num_scored, observed.num_unparsed
    if is_unparsable(observed):
        return Outcome(State.UNPARSABLE, UNDEFINED, num_scored, num_unparsed, sample, UNDEFINED, digit_mass)
    state = State.OK if estimate.value is not None else State.UNDEFINED
    return Outcome(state, estimate, num_scored, num_unparsed, sample, lift, digit_mass)


def is_unparsable(observed: Observations) -> bool:
    """Most of it came back without a usable answer: what is left says nothing, of a label or beside one."""
    return observed.num_unparsed > observed.num_scored


def without(state: State, sample: str) -> Outcome:
    """Nothing was asked, or nothing was answered."""
    return Outcome(state, UNDEFINED, 0, 0, sample)


def digit_mass(readings: Sequence[Reading]) -> float | None:
    """Mean over the tokens of all readings."""
    masses = [
        mass
        for reading in readings
        for mass in [reading.digit_mass] * len(reading.truth_N)
        if mass is not None
    ]
    return fmean(masses) if masses else None
