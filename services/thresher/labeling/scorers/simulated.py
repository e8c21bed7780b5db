"""What all ways to simulate have in common: the texts, the readings, and the scores made of them.

Source: Bills et al., Language models can explain neurons in language models (OpenAI, 2023), sections "Simulate" and
"Score", and its code, automated-interpretability, for the three definitions of a score.

Shapes: N tokens of a text.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from thresher.contracts.exemplars import ExemplarKind
from thresher.contracts.manifests import LinearCalibration
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.observations import Observations, rows_of
from thresher.labeling.scorers.reading import Reading, Sampling, Trial, single_trials
from thresher.labeling.scorers.spec import SimulatedSpec
from thresher.labeling.scorers.statistics import correlation, explained_deviation, explained_variance

LevelProbabilities = Mapping[int, float]


class Simulator(ABC):
    """Base of the scorers that predict activations token by token. A subclass says how it asks."""

    name: str
    prompt_sha256: str
    uses_label = True

    def __init__(self, spec: SimulatedSpec, exchange: Exchange, sampling: Sampling) -> None:
        self._spec, self._exchange, self._sampling = spec, exchange, sampling
        self.calibration: LinearCalibration | None = None

    @property
    def endpoint(self) -> EndpointSpec:
        return self._exchange.endpoint

    @property
    def is_to_calibrate(self) -> bool:
        return self._spec.num_calibrate > 0

    @abstractmethod
    def requests(self, label: str, trials: Sequence[Trial]) -> list[ModelRequest]:
        """As Scorer.requests."""

    @abstractmethod
    async def observe(self, label: str, trials: Sequence[Trial]) -> list[Reading]:
        """As Scorer.observe."""

    def trials(self, feature: int, exemplars: Sequence[Exemplar]) -> list[Trial]:
        counts: list[tuple[ExemplarKind, int]] = [
            ("top", self._spec.num_top),
            ("quantile", self._spec.num_quantile),
            ("negative", self._spec.num_negative),
        ]
        return single_trials(feature, exemplars, counts, self._sampling, self._spec.tokens_per_context)

    def calibration_trials(self, feature: int, exemplars: Sequence[Exemplar]) -> list[Trial]:
        """A few texts of the calibrate split: half of them firing, as strong as they come."""
        num_firing = (self._spec.num_calibrate + 1) // 2
        counts: list[tuple[ExemplarKind, int]] = [
            ("top", (num_firing + 1) // 2),
            ("quantile", num_firing // 2),
            ("negative", self._spec.num_calibrate - num_firing),
        ]
        sampling = replace(self._sampling, num_batches=1)
        return single_trials(feature, exemplars, counts, sampling, self._spec.tokens_per_context)

    def measures(self, readings: Sequence[Reading]) -> Mapping[str, Observations]:
        """Correlation of predicted and true activations, and the shares of variance and deviation explained."""
        measures = {
            self.name: correlation(readings),
            f"{self.name}_r2": explained_variance(readings),
            f"{self.name}_abs_dev": explained_deviation(readings),
        }
        if self.calibration is not None:
            calibrated = [_calibrated(self.calibration, reading) for reading in readings]
            measures[f"{self.name}_calibrated_r2"] = explained_variance(calibrated)
            measures[f"{self.name}_calibrated_abs_dev"] = explained_deviation(calibrated)
        return measures


def fit_calibration(readings: Sequence[Reading]) -> LinearCalibration | None:
    """Least squares over the tokens of all readings; None where the predictions are constant."""
    rows = rows_of(readings)
    if len(rows.truth_N) < 2 or np.ptp(rows.predicted_N) == 0:
        return None
    slope, intercept = np.polyfit(rows.predicted_N, rows.truth_N, 1)
    return LinearCalibration(slope=float(slope), intercept=float(intercept), num_tokens=len(rows.truth_N))


def _calibrated(line: LinearCalibration, reading: Reading) -> Reading:
    return replace(reading, predicted_N=line.slope * reading.predicted_N + line.intercept)


def simulated(trial: Trial, levels: Sequence[LevelProbabilities], max_level: int) -> Reading:
    """The reading of a text, from the probabilities of levels on each of its tokens."""
    masses = [sum(found.values()) for found in levels]
    expected = [
        sum(level * share for level, share in found.items()) / mass if mass > 0 else math.nan
        for found, mass in zip(levels, masses, strict=True)
    ]
    return read_levels(trial, expected, max_level, float(np.mean(masses)))


def read_levels(
    trial: Trial, levels: Sequence[float], max_level: int, digit_mass: float | None = None
) -> Reading:
    """The reading of a text, from a level for each of its tokens, NaN where there is none."""
    context = trial.contexts[0]
    return Reading(
        trial.document,
        context.activations_C.astype(np.float64) / trial.peak,
        np.asarray(levels, np.float64) / max_level,
        context.kind,
        digit_mass,
    )
