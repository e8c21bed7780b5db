"""Simulators calibrated on the calibrate split, before any score is made on the report split."""

from collections.abc import Mapping, Sequence

from thresher.contracts.manifests import LinearCalibration
from thresher.labeling.budget.budget import BudgetExhaustedError
from thresher.labeling.endpoints.requests import RequestFailedError
from thresher.labeling.exemplars.book import ExemplarBook
from thresher.labeling.scorers.reading import Reading
from thresher.labeling.scorers.scorer import Scorer
from thresher.labeling.scorers.simulated import Simulator, fit_calibration
from thresher.labeling.workers import map_bounded

FeatureReadings = dict[str, list[Reading]]
"""Of one feature, by simulator."""
Calibrations = dict[str, LinearCalibration | None]
"""By simulator; None where the predictions are constant."""


async def calibration_readings(
    scorers: Sequence[Scorer], labels: Sequence[tuple[int, str]], book: ExemplarBook, limit: int
) -> list[FeatureReadings]:
    """What each simulator that is to be calibrated says; `labels` are features with their own.

    A text that fails, or that the budget forbids, is left out.

    Raises:
        EndpointError: the endpoint is down or refuses.
    """
    simulators = simulators_to_calibrate(scorers)

    async def one(label: tuple[int, str]) -> FeatureReadings:
        return {simulator.name: await _observe(simulator, *label, book) for simulator in simulators}

    return await map_bounded(one, labels, limit) if simulators else [{} for _ in labels]


def fit_calibrations(found: Sequence[FeatureReadings]) -> Calibrations:
    """One line a simulator, over all features."""
    names = dict.fromkeys(name for readings in found for name in readings)
    return {name: fit_calibration([item for readings in found for item in readings[name]]) for name in names}


def set_calibrations(scorers: Sequence[Scorer], calibrations: Mapping[str, LinearCalibration | None]) -> None:
    for simulator in simulators_to_calibrate(scorers):
        simulator.calibration = calibrations.get(simulator.name)


def simulators_to_calibrate(scorers: Sequence[Scorer]) -> list[Simulator]:
    return [scorer for scorer in scorers if isinstance(scorer, Simulator) and scorer.is_to_calibrate]


async def _observe(simulator: Simulator, feature: int, text: str, book: ExemplarBook) -> list[Reading]:
    trials = simulator.calibration_trials(feature, book.of(feature, "calibrate"))
    try:
        return await simulator.observe(text, trials)
    except (BudgetExhaustedError, RequestFailedError):
        return []
