"""What every training worker runs: the same loop in one process and in many."""

import math
from typing import Any

import torch
from ray import train as ray_train
from ray.train.torch import get_device

from thresher.activations.loader import BatchLoader, BatchPlan, read_pairs
from thresher.activations.read_meter import ReadMeter
from thresher.activations.row_pairs import RowPairs
from thresher.contracts.errors import ThresherError
from thresher.dictionary.baselines.build import fit_baseline
from thresher.dictionary.baselines.spec import BaselineSpec
from thresher.dictionary.batch import Batch
from thresher.dictionary.checkpoint import Checkpoints, StepRecord
from thresher.dictionary.job import FitJob
from thresher.dictionary.publish import TrainingCurve, publish_dictionary
from thresher.dictionary.run_progress import ProgressWriter
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.target_harvests import TargetHarvests, read_harvests
from thresher.dictionary.target_rows import TargetRows
from thresher.dictionary.trainer import StepReport, Trainer, TrainingState, initial_state, learning_rate_at
from thresher.storage import ObjectStore, open_store

RECORD_EVERY_STEPS = 20


class DivergedError(ThresherError):
    """The loss is no longer a finite number."""


def ray_worker(config: dict[str, Any]) -> None:
    """Entry point under Ray Train; `config` holds plain values: the spec, version and fit id."""
    spec = FitSpec.parse(config["spec"])
    torch.set_num_threads(spec.cpus_per_worker)
    context = ray_train.get_context()
    job = FitJob(
        spec=spec,
        version=config["version"],
        fit_id=config["fit_id"],
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        device=get_device(),
    )
    train_and_publish(job)


def train_and_publish(job: FitJob) -> None:
    """Train from the last checkpoint to the last step; the first worker then publishes the dictionary.

    A loss that is not finite ends the run on all workers alike, with the reason in the progress record.
    """
    store = open_store(job.spec.root)
    harvests = read_harvests(store, job.spec)
    with TargetRows(store, harvests) as rows:
        if isinstance(job.spec.architecture, BaselineSpec):
            if job.rank == 0:
                _make_baseline(job, job.spec.architecture, store, harvests, rows)
            return
        run = _Run(job, store, harvests, rows)
        try:
            run.train()
        except DivergedError as error:
            run.report(fault=str(error))
            return
        if job.rank == 0:
            run.publish()


def _make_baseline(
    job: FitJob, spec: BaselineSpec, store: ObjectStore, harvests: TargetHarvests, rows: TargetRows
) -> None:
    """Publish a baseline of the rows that training would take, from the beginning: it has no checkpoints."""
    training = job.spec.training
    plan = BatchPlan(rows.order, training.batch_rows)
    with BatchLoader(rows.fit, plan, 0, training.num_steps) as loader:
        encoder = fit_baseline(spec, (pairs.x_BD for _, pairs in loader), training.seed)
    publish_dictionary(job, store, harvests, rows, encoder, TrainingCurve(history=[]))


class _Run:
    def __init__(self, job: FitJob, store: ObjectStore, harvests: TargetHarvests, rows: TargetRows) -> None:
        self._job, self._store, self._harvests, self._rows = job, store, harvests, rows
        self._checkpoints = Checkpoints(store, job.artifact, job.fit_id)
        state, self._history = self._checkpoints.load_last() or (self._initial_state(), [])
        self._trainer = Trainer(job.spec, rows.layout, state, job.device)
        self._progress = ProgressWriter(store, job.artifact)
        self._meter = ReadMeter()

    def train(self) -> None:
        spec, training = self._job.spec, self._job.spec.training
        plan = BatchPlan(self._rows.order, training.batch_rows, self._job.rank, self._job.world_size)
        with BatchLoader(self._rows.fit, plan, self._trainer.num_steps, training.num_steps) as loader:
            self._meter = loader.meter
            for step, pairs in loader:
                report = self._trainer.step(_on_device(pairs, self._job.device))
                done = step + 1
                is_last = done == training.num_steps
                if is_last or done % RECORD_EVERY_STEPS == 0:
                    self._history.append(self._step_record(done, report))
                if is_last or done % spec.checkpoint_every_steps == 0:
                    self._check_finite(done, report)
                    self._save()
                self.report()

    def publish(self) -> None:
        self.report(force=True)
        publish_dictionary(
            self._job,
            self._store,
            self._harvests,
            self._rows,
            self._trainer.dictionary(),
            TrainingCurve(history=self._history),
        )
        self._checkpoints.remove()

    def report(self, *, fault: str | None = None, force: bool = False) -> None:
        if self._job.rank == 0:
            num_rows = self._trainer.num_steps * self._job.spec.training.batch_rows
            self._progress.write(num_rows, self._meter, fault=fault, force=force)

    def _initial_state(self) -> TrainingState:
        num_rows = min(len(self._rows.fit), self._job.spec.training.initial_rows)
        pairs = read_pairs(self._rows.fit, self._rows.order, num_rows)
        return initial_state(self._job.spec, self._rows.layout, Batch(pairs.x_BD, pairs.y_BE))

    def _save(self) -> None:
        if self._job.rank == 0:
            self._checkpoints.save(self._trainer.state(), self._history)

    def _step_record(self, done: int, report: StepReport) -> StepRecord:
        self._check_finite(done, report)
        batch_rows = self._job.spec.training.batch_rows
        return StepRecord(
            step=done,
            num_rows=done * batch_rows,
            reconstruction_loss=float(report.reconstruction_loss),
            sparsity_loss=float(report.sparsity_loss),
            auxiliary_loss=float(report.auxiliary_loss),
            l0=float(report.num_active) / batch_rows,
            num_dead=int(report.num_dead),
            learning_rate=learning_rate_at(self._job.spec, done - 1),
        )

    def _check_finite(self, done: int, report: StepReport) -> None:
        loss = float(report.reconstruction_loss)
        if not math.isfinite(loss):
            raise DivergedError(
                f"training.learning_rate: the loss is {loss} after {done} steps at a peak rate of "
                f"{self._job.spec.learning_rate:.1e}. Lower the rate or lengthen the warmup."
            )


def _on_device(pairs: RowPairs, device: torch.device) -> Batch:
    """One tensor stays one, since an objective tells a reconstruction of the input by that."""
    x_BD = pairs.x_BD.to(device)
    return Batch(x_BD, x_BD if pairs.y_BE is pairs.x_BD else pairs.y_BE.to(device))
