"""Simulators calibrated on the calibrate split, before any score is made on the report split."""

from collections.abc import Sequence

from thresher.labeling.budget.budget import BudgetExhaustedError
from thresher.labeling.endpoints.requests import RequestFailedError
from thresher.labeling.exemplars.book import ExemplarBook
from thresher.labeling.scorers.reading import Reading
from thresher.labeling.scorers.scorer import Scorer
from thresher.labeling.scorers.simulated import Simulator, fit_calibration
from thresher.labeling.workers import map_bounded


async def calibrate(
    scorers: Sequence[Scorer], labels: Sequence[tuple[int, str]], book: ExemplarBook, limit: int
) -> None:
    """Fit each simulator that is to be calibrated, one line over all features; `labels` are features with their own.

    A text that fails, or that the budget forbids, is left out.

    Raises:
        EndpointError: the endpoint is down or refuses.
    """
    for scorer in scorers:
        if isinstance(scorer, Simulator) and scorer.is_to_calibrate:
            simulator = scorer

            async def one(label: tuple[int, str], simulator: Simulator = simulator) -> list[Reading]:
                feature, text = label
                trials = simulator.calibration_trials(feature, book.of(feature, "calibrate"))
                try:
                    return await simulator.observe(text, trials)
                except (BudgetExhaustedError, RequestFailedError):
                    return []

            readings = await map_bounded(one, labels, limit)
            simulator.calibration = fit_calibration([item for found in readings for item in found])
