"""Labels of features and their scores."""

from typing import Any

from pydantic import Field

from thresher.contracts.manifests.harvest import DictionaryRef
from thresher.contracts.manifests.record import FileEntry, Record


class LinearCalibration(Record):
    """activation = slope x prediction + intercept, both as shares of a feature's largest activation."""

    slope: float
    intercept: float
    num_tokens: int
    """Tokens of the calibrate split that it was fitted on, pooled over features."""


class LabelManifest(Record):
    run_id: str
    spec: dict[str, Any]
    dictionary: DictionaryRef
    corpus_id: str
    features_id: str
    num_features: int
    states: dict[str, int]
    """Number of labels in each state."""
    mean_scores: dict[str, float]
    """Mean by score type, and by `{score type}.shuffled` for the baseline."""
    simulator_digit_mass: float | None = None
    """Mean probability the simulator put on digits where one was due: how well it kept to the format."""
    calibrations: dict[str, LinearCalibration] = Field(default_factory=dict)
    """Of the simulators that were calibrated, by score type."""
    qualified: dict[str, bool | None] = Field(default_factory=dict)
    """By score type, whether the scorer told planted features' labels apart; null if it was never tried."""
    num_calls: int
    num_prompt_tokens: int
    num_completion_tokens: int
    labels: list[FileEntry]
    scores: list[FileEntry]
    responses: list[FileEntry]
    code_version: str
