"""Hands fits to Ray Train: its workers, restarts after losses, and progress on the driver."""

import tempfile
from collections.abc import Sequence

from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer

from thresher.contracts.errors import ThresherError
from thresher.dictionary.prepare import ClaimedFit
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.training.checkpoint import Checkpoints
from thresher.dictionary.training.run_progress import RunProgress, progress_key
from thresher.dictionary.training.train_loop import ray_worker
from thresher.storage import ObjectStore
from thresher.storage.artifacts import find_record


class FitFailedError(ThresherError):
    """Training ended without a dictionary."""


def train_on_ray(fits: Sequence[ClaimedFit]) -> None:
    """Train and publish dictionaries on one read of their rows, each worker holding all of them.

    Needs a process that is connected to Ray. A run that lost workers goes on from the last checkpoints, with as few
    as min_workers where the cluster has no more.

    Args:
        fits: of the same rows in the same order, and of one way to run.

    Raises:
        FitFailedError: the workers failed more often than allowed. A loss that diverges is in the progress record.
    """
    spec, name = fits[0].spec, fits[0].fit_id
    with tempfile.TemporaryDirectory(prefix="thresher-fit-") as folder:
        trainer = TorchTrainer(
            ray_worker,
            train_loop_config={
                "jobs": [
                    {"spec": fit.spec.model_dump(mode="json"), "version": fit.version, "fit_id": fit.fit_id}
                    for fit in fits
                ]
            },
            scaling_config=_scaling(spec),
            run_config=RunConfig(
                name=name, storage_path=folder, failure_config=FailureConfig(max_failures=spec.max_failures)
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            made = ", ".join(f"{fit.spec.name}@{fit.version}" for fit in fits)
            raise FitFailedError(
                f"Training of {made} failed: {error}. Mend the cause and fit again: "
                "it goes on from its last checkpoint."
            ) from error


def _scaling(spec: FitSpec) -> ScalingConfig:
    fewest = spec.min_workers or spec.num_workers
    return ScalingConfig(
        num_workers=spec.num_workers if fewest == spec.num_workers else (fewest, spec.num_workers),
        use_gpu=spec.use_gpu,
        resources_per_worker={"CPU": spec.cpus_per_worker, **({"GPU": 1} if spec.use_gpu else {})},
    )


def rows_done(store: ObjectStore, fit: ClaimedFit) -> int:
    """Rows behind the last checkpoint; forgets how far a run before this one came."""
    store.delete(progress_key(fit.artifact))
    return Checkpoints(store, fit.artifact, fit.fit_id).last_step() * fit.spec.training.batch_rows


def fault_of(store: ObjectStore, fit: ClaimedFit) -> str | None:
    """Why training stopped for good, if it did."""
    record = find_record(store, progress_key(fit.artifact), RunProgress)
    return None if record is None else record.fault
