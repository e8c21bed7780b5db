"""Figures in MLflow, by the server or folder that MLFLOW_TRACKING_URI names.

A fit is one run, found again by its tag: a start that goes on from a checkpoint sends only the steps that are missing.
"""

import os
import sys
import time
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from thresher.contracts.ids import canonical_json
from thresher.dictionary.job import FitJob

EXPERIMENT_VARIABLE = "MLFLOW_EXPERIMENT_NAME"
DEFAULT_EXPERIMENT = "thresher"
FIT_TAG = "thresher.fit_id"
MAX_PARAM_CHARACTERS = 500  # of MLflow's value of a parameter on its oldest stores


class MlflowTracker:
    """One run of the experiment MLFLOW_EXPERIMENT_NAME, by default thresher.

    A server that no longer answers never stops a fit: the rest is then not sent, which is said once. The records in the
    store have everything.
    """

    def __init__(self, job: FitJob) -> None:
        self._client, self._is_lost = MlflowClient(), False
        experiment = os.environ.get(EXPERIMENT_VARIABLE, DEFAULT_EXPERIMENT)
        found = self._client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else self._client.create_experiment(experiment)
        run = self._find(experiment_id, job.fit_id) or self._create(experiment_id, job)
        self._run_id = run.info.run_id
        self._last_step = self._logged_steps()
        self._client.update_run(self._run_id, status="RUNNING")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step <= self._last_step or self._is_lost:
            return
        at_ms = int(time.time() * 1000)
        metrics = [Metric(name, value, at_ms, step) for name, value in values.items()]
        try:
            self._client.log_batch(self._run_id, metrics=metrics)
        except MlflowException as error:
            self._is_lost = True
            print(f"MLflow does not answer, nothing more is sent to it: {error}", file=sys.stderr)

    def close(self, *, failed: bool) -> None:
        if not self._is_lost:
            self._client.set_terminated(self._run_id, "FAILED" if failed else "FINISHED")

    def _find(self, experiment_id: str, fit_id: str) -> Run | None:
        runs = self._client.search_runs([experiment_id], f"tags.`{FIT_TAG}` = '{fit_id}'", max_results=1)
        return runs[0] if runs else None

    def _create(self, experiment_id: str, job: FitJob) -> Run:
        name = f"{job.spec.name}@{job.version}"
        run = self._client.create_run(experiment_id, tags={FIT_TAG: job.fit_id}, run_name=name)
        params = [Param(key, _text(value)) for key, value in job.spec.identity().items()]
        self._client.log_batch(run.info.run_id, params=params, tags=[RunTag("thresher.dictionary", name)])
        return run

    def _logged_steps(self) -> int:
        history = self._client.get_metric_history(self._run_id, "fvu")
        return max((metric.step for metric in history), default=0)


def _text(value: object) -> str:
    text = value if isinstance(value, str) else canonical_json(value)
    return text[:MAX_PARAM_CHARACTERS]
