"""The one place that a training loop tells its steps to.

Shape suffixes: N held-out rows, D width of the input, E width of what is reconstructed.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch

from thresher.activations.row_pairs import RowPairs
from thresher.contracts.manifests import FileEntry
from thresher.dictionary.job import FitJob
from thresher.dictionary.tracking.record_log import RecordLog
from thresher.dictionary.tracking.records import StepRecord, StepTiming, scalars
from thresher.dictionary.tracking.tracker import open_trackers
from thresher.latents.encoder import SparseEncoder
from thresher.latents.reconstruction import ReconstructionAccumulator
from thresher.storage import ObjectStore
from thresher.storage.artifacts import put_file

HOLDOUT_ROWS = 256


@dataclass(frozen=True)
class StepFigures:
    """Of the global batch of one step."""

    losses: Mapping[str, float]
    fvu: float
    l0: float
    num_dead: int
    learning_rate: float


class StepRecorder:
    """Records steps in the store and shows them to trackers. Of several workers, the first alone has one.

    Args:
        store: that the dictionary lies in.
        job: whose steps they are.
        step: that the run goes on from; later records of an interrupted start are dropped.
        sample: held-out rows, at most 256, always the same.
    """

    def __init__(self, store: ObjectStore, job: FitJob, step: int, sample: RowPairs) -> None:
        self._store, self._batch_rows = store, job.spec.training.batch_rows
        self._sample = sample
        self._records = RecordLog(store, job.artifact, "metrics")
        self._timings = RecordLog(store, job.artifact, "timing")
        for log in (self._records, self._timings):
            log.discard_after(step)
        self._trackers = open_trackers(job, step)
        self._step, self._at_s, self._wait_s = step, time.monotonic(), 0.0

    def record(
        self,
        step: int,
        figures: StepFigures,
        gradients: Iterable[torch.Tensor],
        encoder: Callable[[torch.Tensor], SparseEncoder],
        wait_s: float,
    ) -> None:
        """Record a step.

        Args:
            step: steps done.
            figures: of its batch.
            gradients: that the optimiser was given.
            encoder: the dictionary as it would be used now, its threshold from the sample that it is given.
            wait_s: time that this run has waited for data so far.
        """
        x_ND, y_NE = self._sample.x_BD, self._sample.y_BE
        dictionary = encoder(x_ND)
        accumulator = ReconstructionAccumulator(dictionary.d_out, dictionary.num_latents)
        codes = dictionary.encode(x_ND)
        accumulator.add(y_NE, dictionary.decode(codes, x_ND), codes)
        holdout = accumulator.metrics()
        assert holdout.dense_fraction is not None, "rows were added"
        record = StepRecord(
            step=step,
            num_rows=step * self._batch_rows,
            losses=dict(figures.losses),
            fvu=figures.fvu,
            l0=figures.l0,
            dead_fraction=figures.num_dead / dictionary.num_latents,
            learning_rate=figures.learning_rate,
            gradient_norm=norm(gradients),
            holdout_fvu=holdout.fvu,
            holdout_fvu_without_outliers=holdout.fvu_without_outliers,
            holdout_l0=holdout.l0,
            dense_fraction=holdout.dense_fraction,
        )
        timing = self._timing(step, wait_s)
        self._records.append(record)
        self._timings.append(timing)
        for tracker in self._trackers:
            tracker.log(step, scalars(record, timing))

    def write_part(self) -> None:
        """Before each checkpoint."""
        self._records.write_part()
        self._timings.write_part()

    def publish(self) -> FileEntry:
        """Join the records; the entry is of training/metrics.jsonl. Rates lie beside it and are in no manifest."""
        self._store.put(self._timings.key, self._timings.joined())
        return put_file(self._store, self._records.key, self._records.joined())

    def close(self, *, failed: bool = False) -> None:
        """The run is over. Once its checkpoints are gone, the parts of a published fit go too."""
        for tracker in self._trackers:
            tracker.close(failed=failed)
        if not failed:
            self._records.remove_parts()
            self._timings.remove_parts()

    def _timing(self, step: int, wait_s: float) -> StepTiming:
        elapsed_s = max(time.monotonic() - self._at_s, 1e-9)
        timing = StepTiming(
            step=step,
            rows_per_s=(step - self._step) * self._batch_rows / elapsed_s,
            data_wait_share=(wait_s - self._wait_s) / elapsed_s,
        )
        self._step, self._at_s, self._wait_s = step, time.monotonic(), wait_s
        return timing


def norm(gradients: Iterable[torch.Tensor]) -> float:
    """Euclidean, over all of them; summed as float64."""
    return math.sqrt(sum(float(torch.linalg.vector_norm(item)) ** 2 for item in gradients))
