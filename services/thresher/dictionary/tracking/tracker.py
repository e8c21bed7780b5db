"""Where figures go besides the store, as far as the run asks for it."""

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from thresher.dictionary.job import FitJob

MLFLOW_VARIABLE = "MLFLOW_TRACKING_URI"


class Tracker(Protocol):
    """A service that people watch a run with."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Show the figures of a step."""

    def close(self, *, failed: bool) -> None:
        """The run is over, for good or not."""


def open_trackers(job: FitJob, step: int) -> list[Tracker]:
    """The trackers that a run which goes on from `step` asks for.

    TensorBoard where the spec names a folder; MLflow where it is installed and MLFLOW_TRACKING_URI is set.
    """
    trackers: list[Tracker] = []
    if job.spec.tracking.tensorboard_dir is not None:
        from thresher.dictionary.tracking.tensorboard import TensorBoardTracker

        folder = Path(job.spec.tracking.tensorboard_dir) / f"{job.spec.name}@{job.version}"
        trackers.append(TensorBoardTracker(folder, step))
    if os.environ.get(MLFLOW_VARIABLE):
        if importlib.util.find_spec("mlflow") is None:
            print(f"{MLFLOW_VARIABLE} is set, but mlflow is not installed: nothing is sent.", file=sys.stderr)
        else:
            from thresher.dictionary.tracking.mlflow import MlflowTracker

            trackers.append(MlflowTracker(job))
    return trackers
