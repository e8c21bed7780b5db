"""A loss that is no longer a finite number: told a step late, with the batches that led there kept.

Shape suffixes: B rows, D width of the input, E width of the output.
"""

from collections import deque

import torch
from safetensors.torch import save

from thresher.activations.row_pairs import RowPairs
from thresher.contracts.errors import ThresherError
from thresher.dictionary.job import FitJob
from thresher.dictionary.training.trainer import StepReport
from thresher.storage import ObjectStore

BATCHES_KEPT = 2
"""The batch whose loss is not finite, and the one before, whose gradient may have made the weights so."""


class DivergedError(ThresherError):
    """The loss is no longer a finite number."""


class DivergenceWatch:
    """Looks at the loss of each step once the next has begun, so that no device is waited for."""

    def __init__(self, job: FitJob, store: ObjectStore) -> None:
        self._job, self._store = job, store
        self._kept: deque[tuple[int, RowPairs]] = deque(maxlen=BATCHES_KEPT)
        self._unseen: StepReport | None = None

    def add(self, step: int, batch: RowPairs, report: StepReport) -> None:
        """Look at the step before, and keep this one.

        Args:
            step: steps done.
            batch: this worker's part, as harvested.
            report: over all workers, so that all of them stop alike.

        Raises:
            DivergedError: the loss of the step before is not finite.
        """
        self.check()
        self._kept.append((step, batch))
        self._unseen = report

    def check(self, *, is_state_finite: bool = True) -> None:
        """Look at the last step now; raises as add does, and where a finite loss left weights that are not."""
        if self._unseen is None or (self._unseen.is_finite and is_state_finite):
            return
        step, _ = self._kept[-1]
        key = self._save_batches(step)
        rate = self._job.spec.learning_rate
        raise DivergedError(
            f"training.learning_rate: the loss or the weights are not finite after {step} steps at a peak rate of "
            f"{rate:.1e}. Lower the rate or lengthen the warmup. "
            f"The batches that led there are kept in {self._store.url}/{key}."
        )

    def _save_batches(self, step: int) -> str:
        """x.{step} and, of targets that reconstruct other rows, y.{step}."""
        tensors: dict[str, torch.Tensor] = {}
        for kept_step, batch in self._kept:
            tensors[f"x.{kept_step}"] = batch.x_BD.cpu().contiguous()
            if batch.y_BE is not batch.x_BD:
                tensors[f"y.{kept_step}"] = batch.y_BE.cpu().contiguous()
        key = f"{self._job.artifact}/training/diverged/step-{step:09d}-rank-{self._job.rank}.safetensors"
        self._store.put(key, bytes(save(tensors)))
        return key
