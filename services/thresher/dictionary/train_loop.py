"""What every training worker runs: the same loop in one process and in many."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from ray import train as ray_train
from ray.train.torch import get_device

from thresher.activations.dense_reader import DenseSite
from thresher.activations.loader import BatchLoader, BatchPlan
from thresher.activations.shuffle import EndlessOrder
from thresher.activations.split_rows import SplitRows
from thresher.contracts import paths
from thresher.contracts.errors import ThresherError
from thresher.contracts.manifests import HarvestManifest
from thresher.dictionary.checkpoint import Checkpoints
from thresher.dictionary.evaluation import fold_scale
from thresher.dictionary.job import FitJob
from thresher.dictionary.publish import publish_dictionary
from thresher.dictionary.run_progress import ProgressWriter
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.threshold import calibrate_threshold
from thresher.dictionary.tracking.recorder import HOLDOUT_ROWS, StepFigures, StepRecorder
from thresher.dictionary.trainer import StepReport, Trainer, TrainingState, initial_state, learning_rate_at
from thresher.latents.encoder import SparseEncoder
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import read_record


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
    harvest = read_record(store, paths.manifest(paths.harvest(job.spec.harvest)), HarvestManifest)
    with DenseSite(store, harvest, job.spec.site, Path(job.spec.cache_dir)) as site:
        run = _Run(job, store, harvest, site)
        try:
            run.train()
        except DivergedError as error:
            run.fail(str(error))
            return
        if job.rank == 0:
            run.publish()


class _Run:
    def __init__(self, job: FitJob, store: ObjectStore, harvest: HarvestManifest, site: DenseSite) -> None:
        self._job, self._store, self._harvest, self._site = job, store, harvest, site
        training = job.spec.training
        self._rows = SplitRows(harvest, training.fit_split, training.min_position)
        self._order = EndlessOrder(len(self._rows), training.seed)
        self._checkpoints = Checkpoints(store, job.artifact, job.fit_id)
        state = self._checkpoints.load_last() or self._initial_state()
        self._trainer = Trainer(job.spec, state, job.device)
        self._progress = ProgressWriter(store, job.artifact, self._trainer.num_steps * training.batch_rows)
        self._recorder = self._open_recorder() if job.rank == 0 else None
        self._wait_s = 0.0

    def train(self) -> None:
        spec, training = self._job.spec, self._job.spec.training
        plan = BatchPlan(
            self._rows, self._order, training.batch_rows, rank=self._job.rank, world_size=self._job.world_size
        )
        with BatchLoader(self._site, plan, self._trainer.num_steps, training.num_steps) as loader:
            for step, x_BD in loader:
                report = self._trainer.step(x_BD.to(self._job.device))
                self._wait_s = loader.wait_s
                done = step + 1
                is_last = done == training.num_steps
                if is_last or done % spec.tracking.every_steps == 0:
                    self._record(done, report)
                if is_last or done % spec.checkpoint_every_steps == 0:
                    self._check_finite(done, report)
                    self._save()
                self.report()

    def publish(self) -> None:
        assert self._recorder is not None, "the first worker publishes"
        self.report(force=True)
        publish_dictionary(
            self._job, self._store, self._harvest, self._site, self._dictionary(), self._recorder.publish()
        )
        self._checkpoints.remove()
        self._recorder.close()

    def fail(self, fault: str) -> None:
        self.report(fault=fault)
        if self._recorder is not None:
            self._recorder.close(failed=True)

    def report(self, *, fault: str | None = None, force: bool = False) -> None:
        if self._job.rank == 0:
            num_rows = self._trainer.num_steps * self._job.spec.training.batch_rows
            self._progress.write(num_rows, self._wait_s, fault=fault, force=force)

    def _initial_state(self) -> TrainingState:
        num_rows = min(len(self._rows), self._job.spec.training.initial_rows)
        sample = self._rows.to_harvest_rows(self._order.items(0, num_rows))
        return initial_state(self._job.spec, self._site.gather(sample))

    def _save(self) -> None:
        if self._recorder is not None:
            self._recorder.write_part()
            self._checkpoints.save(self._trainer.state())

    def _open_recorder(self) -> StepRecorder:
        training = self._job.spec.training
        rows = SplitRows(self._harvest, training.holdout_split, training.min_position)
        sample = EndlessOrder(len(rows), training.seed).items(0, min(len(rows), HOLDOUT_ROWS))
        x_ND = self._site.gather(rows.to_harvest_rows(sample)).to(self._job.device)
        return StepRecorder(self._store, self._job, self._trainer.num_steps, x_ND, x_ND)

    def _record(self, done: int, report: StepReport) -> None:
        self._check_finite(done, report)
        if self._recorder is None:
            return
        reconstruction_loss = float(report.reconstruction_loss)
        figures = StepFigures(
            losses={"reconstruction": reconstruction_loss, "auxiliary": float(report.auxiliary_loss)},
            fvu=reconstruction_loss,
            l0=float(report.num_active) / self._job.spec.training.batch_rows,
            num_dead=int(report.num_dead),
            learning_rate=learning_rate_at(self._job.spec, done - 1),
        )
        gradients = [
            weight.grad for weight in self._trainer.weights.named().values() if weight.grad is not None
        ]
        self._recorder.record(done, figures, gradients, self._dictionary_on, self._wait_s)

    def _dictionary(self) -> SparseEncoder:
        return fold_scale(self._trainer.weights, self._trainer.scale)

    def _dictionary_on(self, x_ND: torch.Tensor) -> SparseEncoder:
        """As inference would use it, its threshold from these rows."""
        encoder = self._dictionary()
        threshold = calibrate_threshold(encoder, [x_ND], len(x_ND), self._job.spec.architecture.k)
        return replace(encoder, threshold_F=torch.full_like(encoder.threshold_F, threshold))

    def _check_finite(self, done: int, report: StepReport) -> None:
        loss = float(report.reconstruction_loss)
        if not math.isfinite(loss):
            raise DivergedError(
                f"training.learning_rate: the loss is {loss} after {done} steps at a peak rate of "
                f"{self._job.spec.learning_rate:.1e}. Lower the rate or lengthen the warmup."
            )
