"""What a scorer says of one label on one feature's contexts."""

from dataclasses import dataclass

from thresher.contracts.states import State
from thresher.labeling.scorers.statistics import Estimate

UNDEFINED = Estimate(None, None, None)


@dataclass(frozen=True)
class Outcome:
    """A score, or the state that stands in its place.

    Args:
        num_scored: observations that entered the estimate: tokens for simulation, contexts for detection.
        num_unparsed: observations that were asked for and came back without a usable answer.
        sample_sha256: the contexts asked about.
        digit_mass: mean probability on digits where one was due, for simulation.
    """

    state: State
    estimate: Estimate
    num_scored: int
    num_unparsed: int
    sample_sha256: str
    digit_mass: float | None = None


def outcome_of(
    estimate: Estimate, num_scored: int, num_unparsed: int, sample: str, mass: float | None = None
) -> Outcome:
    """OK if the estimate is defined and most observations were parsed; else no value, and the reason."""
    if num_unparsed > num_scored:
        return Outcome(State.UNPARSABLE, UNDEFINED, num_scored, num_unparsed, sample, mass)
    state = State.OK if estimate.value is not None else State.UNDEFINED
    return Outcome(state, estimate, num_scored, num_unparsed, sample, mass)
