"""One dictionary in training on one worker: its steps, what is recorded of them, its checkpoints, its end.

Shape suffixes: N sampled rows, D width of the input.
"""

import time

import torch

from thresher.activations.loader import read_pairs
from thresher.activations.read_meter import ReadMeter
from thresher.activations.row_pairs import RowPairs
from thresher.activations.shuffle import EndlessOrder
from thresher.dictionary.evaluation import calibrated
from thresher.dictionary.job import FitJob
from thresher.dictionary.publish import publish_dictionary
from thresher.dictionary.target.harvests import TargetHarvests
from thresher.dictionary.target.rows import TargetRows
from thresher.dictionary.tracking.recorder import HOLDOUT_ROWS, StepFigures, StepRecorder
from thresher.dictionary.training.checkpoint import Checkpoints
from thresher.dictionary.training.divergence import DivergedError, DivergenceWatch
from thresher.dictionary.training.run_progress import ProgressWriter
from thresher.dictionary.training.trainer import (
    StepReport,
    Trainer,
    TrainingState,
    initial_state,
    learning_rate_at,
)
from thresher.latents.encoder import SparseEncoder
from thresher.latents.weights import load_encoder
from thresher.storage import ObjectStore


class TrainingRun:
    """Goes on from the last checkpoint. Every worker takes every step; the first alone writes and publishes."""

    def __init__(self, job: FitJob, store: ObjectStore, harvests: TargetHarvests, rows: TargetRows) -> None:
        self._job, self._store, self._harvests, self._rows = job, store, harvests, rows
        self._checkpoints = Checkpoints(store, job.artifact, job.fit_id)
        state = self._checkpoints.load_last() or self._initial_state()
        self._trainer = Trainer(job.spec, rows.layout, state, job.device)
        self._watch = DivergenceWatch(job, store)
        self._progress = ProgressWriter(store, job.artifact)
        self._recorder = self._open_recorder() if job.rank == 0 else None
        self._saved_at_s = time.monotonic()
        self.has_failed = False

    @property
    def num_steps(self) -> int:
        """Steps done, by earlier runs too."""
        return self._trainer.num_steps

    @property
    def is_over(self) -> bool:
        return self.has_failed or self.num_steps == self._job.spec.training.num_steps

    def step(self, batch: RowPairs, meter: ReadMeter) -> None:
        """Take the next step, on this worker's part of the global batch.

        A loss that is not finite ends the run on all workers alike, with the reason in the progress record.
        """
        report = self._trainer.step(batch)
        try:
            self._watch.add(self.num_steps, batch, report)
            if self.is_over:
                self._watch.check(is_state_finite=self._trainer.is_finite())
        except DivergedError as error:
            self._fail(str(error), meter)
            return
        self._record(report, meter)
        self._report(meter, force=self.is_over)

    def publish(self) -> None:
        """Write the dictionary; of a run that is over."""
        assert self._recorder is not None, "the first worker publishes"
        publish_dictionary(
            self._job,
            self._store,
            self._harvests,
            self._rows,
            self._trainer.dictionary(),
            [self._recorder.publish()],
        )
        self._checkpoints.remove()
        self._recorder.close()

    def _initial_state(self) -> TrainingState:
        spec = self._job.spec
        sample = read_pairs(
            self._rows.fit, self._rows.order, min(len(self._rows.fit), spec.training.initial_rows)
        )
        start = load_encoder(self._store, spec.initial)[0] if spec.initial is not None else None
        return initial_state(spec, self._rows.layout, sample, start)

    def _open_recorder(self) -> StepRecorder:
        holdout = self._rows.holdout
        order = EndlessOrder(len(holdout), self._job.spec.training.seed)
        sample = read_pairs(holdout, order, min(len(holdout), HOLDOUT_ROWS)).to(self._job.device)
        return StepRecorder(self._store, self._job, self._trainer.num_steps, sample)

    def _record(self, report: StepReport, meter: ReadMeter) -> None:
        """Records and checkpoints, where they are due. A state that is not finite is never saved."""
        if self._recorder is None:
            return
        spec, done = self._job.spec, self.num_steps
        is_recorded = self.is_over or done % spec.tracking.every_steps == 0
        is_saved = (
            self.is_over
            or done % spec.checkpoint_every_steps == 0
            or time.monotonic() - self._saved_at_s >= spec.checkpoint_every_s
        )
        if not (is_recorded or is_saved) or not (report.is_finite and self._trainer.is_finite()):
            return
        if is_recorded:
            gradients = self._trainer.gradients()
            self._recorder.record(done, self._figures(report), gradients, self._dictionary_on, meter.wait_s)
        if is_saved:
            self._recorder.write_part()
            self._checkpoints.save(self._trainer.state())
            self._saved_at_s = time.monotonic()

    def _figures(self, report: StepReport) -> StepFigures:
        losses = {
            "reconstruction": float(report.reconstruction_loss),
            "sparsity": float(report.sparsity_loss),
            "auxiliary": float(report.auxiliary_loss),
        }
        return StepFigures(
            losses=losses,
            fvu=losses["reconstruction"],
            l0=float(report.num_active) / self._job.spec.training.batch_rows,
            num_dead=int(report.num_dead),
            learning_rate=learning_rate_at(self._job.spec, self.num_steps - 1),
        )

    def _dictionary_on(self, x_ND: torch.Tensor) -> SparseEncoder:
        """As inference would use it, its threshold from these rows."""
        return calibrated(self._trainer.dictionary(), self._job.spec, [x_ND], len(x_ND))

    def _report(self, meter: ReadMeter, *, fault: str | None = None, force: bool = False) -> None:
        if self._job.rank == 0:
            num_rows = self.num_steps * self._job.spec.training.batch_rows
            self._progress.write(num_rows, meter, fault=fault, force=force)

    def _fail(self, fault: str, meter: ReadMeter) -> None:
        self.has_failed = True
        self._report(meter, fault=fault)
        if self._recorder is not None:
            self._recorder.close(failed=True)
