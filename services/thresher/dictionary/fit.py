"""Fits a dictionary to a site of a harvest, on a Ray cluster."""

import tempfile

from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchTrainer

from thresher import __version__
from thresher.activations.dense_reader import verify_site
from thresher.contracts import paths
from thresher.contracts.errors import SpecError, ThresherError
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import DictionaryManifest
from thresher.dictionary.baselines.spec import BaselineSpec
from thresher.dictionary.checkpoint import Checkpoints
from thresher.dictionary.claim import claim_dictionary
from thresher.dictionary.run_progress import ProgressFollower, RunProgress, progress_key
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.target_harvests import TargetHarvests, check_target, read_harvests
from thresher.dictionary.train_loop import ray_worker
from thresher.dictionary.warm_start import check_initial
from thresher.latents.weights import load_encoder
from thresher.runtime.progress import progress
from thresher.runtime.ray_cluster import connect
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import find_record, read_record, record_bytes


class FitFailedError(ThresherError):
    """Training ended without a dictionary."""


def fit(spec: FitSpec) -> DictionaryManifest:
    """Fit the dictionary, or go on with it, or find it made.

    Uses the Ray cluster that the process is connected to, or else starts one on this machine.

    Raises:
        SpecError: the spec does not fit the harvest.
        MissingArtifactError: there is no such harvest.
        IntegrityError: a shard is damaged.
        AlreadyExistsError: the version was made from another spec.
        FitFailedError: training diverged, or its workers failed more often than allowed.
    """
    store = open_store(spec.root)
    harvests = read_harvests(store, spec)
    check_fits_harvests(spec, harvests, store)
    fit_id = fit_id_of(spec, read_initial(store, spec, harvests))
    version = claim_dictionary(store, spec.name, fit_id, spec.version)
    artifact = paths.dictionary(spec.name, version)
    made = find_record(store, paths.manifest(artifact), DictionaryManifest)
    if made is not None:
        return made
    for mixed_id in harvests.mixed_ids:
        for item in harvests.sites:
            verify_site(store, harvests.holder(item, mixed_id), item.site)
    store.put(paths.spec(artifact), record_bytes(spec))
    _train_on_ray(store, spec, version, fit_id)
    return read_record(store, paths.manifest(artifact), DictionaryManifest)


def fit_id_of(spec: FitSpec, initial: DictionaryManifest | None = None) -> str:
    """Content id of what the spec makes; the harvest's id within it stands for everything upstream."""
    start = {} if initial is None else {"initial_weights_sha256": initial.weights().sha256}
    return content_id("fit", {"spec": spec.identity(), "code_version": __version__, **start})


def read_initial(store: ObjectStore, spec: FitSpec, harvests: TargetHarvests) -> DictionaryManifest | None:
    """The dictionary to start from, checked against the fit.

    Raises:
        SpecError: it is of another target or shape.
        MissingArtifactError: there is none of that name.
    """
    if spec.initial is None:
        return None
    encoder, manifest = load_encoder(store, spec.initial)
    if manifest.target.kind != spec.target.kind:
        raise SpecError(
            "initial",
            f"{spec.initial}, a {manifest.target.kind}",
            allowed=f"dictionaries whose target is of kind {spec.target.kind}",
            mend="Start from another.",
        )
    check_initial(
        encoder,
        d_in=harvests.d_in,
        d_out=harvests.d_out,
        num_latents=spec.architecture.num_latents,
        skip=spec.target.kind == "transcoder" and spec.target.skip,
        centres_input=spec.target.kind in ("autoencoder", "layer_group"),
    )
    return manifest


def check_fits_harvests(spec: FitSpec, harvests: TargetHarvests, store: ObjectStore) -> None:
    """Raise SpecError where the spec asks for what the harvests or the workers cannot give."""
    check_target(harvests, store)
    spec.architecture.check_widths(harvests.d_in, harvests.sites[0].site)
    if isinstance(spec.architecture, BaselineSpec) and spec.target.kind in ("transcoder", "crosscoder"):
        raise SpecError(
            "target.kind",
            spec.target.kind,
            allowed=["autoencoder", "layer_group"],
            mend=f"A {spec.architecture.kind} baseline is made from the rows of single sites: use one of these.",
        )
    if spec.training.batch_rows < spec.num_workers:
        raise SpecError(
            "num_workers",
            spec.num_workers,
            allowed=f"up to batch_rows = {spec.training.batch_rows}",
            mend="Lower it.",
        )


def _train_on_ray(store: ObjectStore, spec: FitSpec, version: str, fit_id: str) -> None:
    artifact = paths.dictionary(spec.name, version)
    store.delete(progress_key(artifact))
    before = Checkpoints(store, artifact, fit_id).last_step() * spec.training.batch_rows
    total = spec.training.num_steps * spec.training.batch_rows
    connect()
    with (
        tempfile.TemporaryDirectory(prefix="thresher-fit-") as folder,
        progress("fit", total, "rows", done=before) as meter,
        ProgressFollower(store, artifact, meter, before),
    ):
        trainer = TorchTrainer(
            ray_worker,
            train_loop_config={
                "jobs": [{"spec": spec.model_dump(mode="json"), "version": version, "fit_id": fit_id}]
            },
            scaling_config=ScalingConfig(
                num_workers=(spec.min_workers or spec.num_workers, spec.num_workers),
                use_gpu=spec.use_gpu,
                resources_per_worker={"CPU": spec.cpus_per_worker, **({"GPU": 1} if spec.use_gpu else {})},
            ),
            run_config=RunConfig(
                name=fit_id, storage_path=folder, failure_config=FailureConfig(max_failures=spec.max_failures)
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            raise FitFailedError(
                f"Training of {spec.name}@{version} failed: {error}. Mend the cause and fit again: "
                "it goes on from its last checkpoint."
            ) from error
    record = find_record(store, progress_key(artifact), RunProgress)
    if record is not None and record.fault is not None:
        raise FitFailedError(record.fault)
