"""What every training worker runs: the same loop in one process and in many, for one dictionary and for several."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import torch
from ray import train as ray_train
from ray.train.torch import get_device

from thresher.activations.loader import BatchLoader, BatchPlan
from thresher.contracts import paths
from thresher.dictionary.baselines.build import fit_baseline
from thresher.dictionary.baselines.spec import BaselineSpec
from thresher.dictionary.job import FitJob
from thresher.dictionary.publish import publish_dictionary
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.target.harvests import TargetHarvests, read_harvests
from thresher.dictionary.target.rows import TargetRows
from thresher.dictionary.training.training_run import TrainingRun
from thresher.storage import ObjectStore, open_store

BATCHES_A_TURN = 8
"""That one of several dictionaries takes before the next does: its weights stay in the cache for so long."""


def ray_worker(config: dict[str, Any]) -> None:
    """Entry point under Ray Train; `config` holds plain values: the spec, version and fit id of each dictionary."""
    context = ray_train.get_context()
    jobs = [
        FitJob(
            spec=FitSpec.parse(job["spec"]),
            version=job["version"],
            fit_id=job["fit_id"],
            rank=context.get_world_rank(),
            world_size=context.get_world_size(),
            device=get_device(),
        )
        for job in config["jobs"]
    ]
    torch.set_num_threads(jobs[0].spec.cpus_per_worker)
    train_and_publish(*jobs)


def train_and_publish(*jobs: FitJob) -> None:
    """Train each from its last checkpoint to its last step, on one read of the rows; the first worker publishes them.

    Those that a lost worker had published already are left as they are. All are fitted to the same rows in the same
    order, in batches of one size.
    """
    spec = jobs[0].spec
    store = open_store(spec.root)
    jobs = tuple(job for job in jobs if store.head(paths.manifest(job.artifact)) is None)
    harvests = read_harvests(store, spec)
    with TargetRows(store, harvests) as rows:
        trained = [job for job in jobs if not isinstance(job.spec.architecture, BaselineSpec)]
        if trained:
            runs = [(job, TrainingRun(job, store, harvests, rows)) for job in trained]
            take_steps(runs, rows)
            for job, run in runs:
                if job.rank == 0 and not run.has_failed:
                    run.publish()
        for job in jobs:
            if job.rank == 0 and isinstance(job.spec.architecture, BaselineSpec):
                _make_baseline(job, job.spec.architecture, store, harvests, rows)


def take_steps(runs: Sequence[tuple[FitJob, TrainingRun]], rows: TargetRows) -> None:
    """Take every run to its end on one read: each batch goes to every dictionary that has not seen it."""
    first = runs[0][0]
    plan = BatchPlan(rows.order, first.spec.training.batch_rows, first.rank, first.world_size)
    start = min(run.num_steps for _, run in runs)
    stop = max(job.spec.training.num_steps for job, _ in runs)
    with BatchLoader(rows.fit, plan, start, stop) as loader:
        steps = iter(loader)
        while turn := list(islice(steps, BATCHES_A_TURN if len(runs) > 1 else 1)):
            on_device = [(step, batch.to(first.device)) for step, batch in turn]
            for _, run in runs:
                for step, batch in on_device:
                    if not run.is_over and run.num_steps == step:
                        run.step(batch, loader.meter)
            if all(run.is_over for _, run in runs):
                break


def _make_baseline(
    job: FitJob, spec: BaselineSpec, store: ObjectStore, harvests: TargetHarvests, rows: TargetRows
) -> None:
    """Publish a baseline of the rows that training would take, from the beginning: it has no checkpoints."""
    training = job.spec.training
    plan = BatchPlan(rows.order, training.batch_rows)
    with BatchLoader(rows.fit, plan, 0, training.num_steps) as loader:
        encoder = fit_baseline(spec, (batch.x_BD for _, batch in loader), training.seed)
    publish_dictionary(job, store, harvests, rows, encoder, [])
