"""Writes a trained dictionary: the SAELens folder, its training curve, its manifest last."""

from typing import Any

import torch

from thresher import __version__
from thresher.activations.dense_reader import DenseSite
from thresher.contracts import paths
from thresher.contracts.manifests import (
    CorpusManifest,
    DictionaryManifest,
    HarvestManifest,
    Record,
)
from thresher.dictionary.checkpoint import StepRecord
from thresher.dictionary.evaluation import calibrate, evaluate
from thresher.dictionary.hook_names import hook_name
from thresher.dictionary.job import FitJob
from thresher.dictionary.spec import FitSpec
from thresher.latents.encoder import SparseEncoder
from thresher.latents.folder_config import config_json
from thresher.latents.weights import CONFIG_FILE, WEIGHTS_FILE, weights_safetensors
from thresher.storage import ObjectStore
from thresher.storage.artifacts import find_record, publish_manifest, put_file, record_bytes


class TrainingCurve(Record):
    """training/metrics.json of a dictionary."""

    input_scale: float
    """What inputs were multiplied by in training; folded into the saved weights."""
    history: list[StepRecord]


@torch.no_grad()
def publish_dictionary(
    job: FitJob,
    store: ObjectStore,
    harvest: HarvestManifest,
    site: DenseSite,
    uncalibrated: SparseEncoder,
    curve: TrainingCurve,
) -> DictionaryManifest:
    """Calibrate the threshold of a trained dictionary, evaluate and write it."""
    spec, artifact = job.spec, job.artifact
    encoder = calibrate(uncalibrated, site, harvest, spec)
    metrics = evaluate(encoder, site, harvest, spec)
    metadata = saelens_metadata(store, harvest, spec, job.fit_id)
    files = [
        put_file(store, f"{artifact}/{CONFIG_FILE}", config_json(encoder, metadata)),
        put_file(store, f"{artifact}/{WEIGHTS_FILE}", weights_safetensors(encoder)),
        put_file(store, f"{artifact}/training/metrics.json", record_bytes(curve)),
    ]
    manifest = DictionaryManifest(
        name=spec.name,
        version=job.version,
        fit_id=job.fit_id,
        spec=spec.identity(),
        architecture=spec.architecture.kind,
        harvest_id=harvest.harvest_id,
        site=spec.site,
        d_in=encoder.d_in,
        num_latents=encoder.num_latents,
        k=spec.architecture.k,
        num_training_rows=spec.training.num_steps * spec.training.batch_rows,
        metrics=metrics,
        files=files,
        code_version=__version__,
    )
    return publish_manifest(store, artifact, manifest)


def saelens_metadata(
    store: ObjectStore, harvest: HarvestManifest, spec: FitSpec, fit_id: str
) -> dict[str, Any]:
    """What SAELens needs to run the dictionary beside its model, and the lineage under `thresher`."""
    corpus = (
        find_record(store, paths.manifest(paths.corpus(harvest.corpus_id)), CorpusManifest)
        if harvest.corpus_id
        else None
    )
    model = harvest.model
    return {
        "model_name": model.name if model else None,
        "hook_name": hook_name(spec.site),
        "context_size": harvest.sequence_length,
        "prepend_bos": corpus is not None and corpus.bos_token_id is not None,
        "thresher": {
            "fit_id": fit_id,
            "harvest_id": harvest.harvest_id,
            "corpus_id": harvest.corpus_id,
            "site": spec.site,
            "model_weights_sha256": model.weights_sha256 if model else None,
            "tokenizer_sha256": model.tokenizer_sha256 if model else None,
            "code_version": __version__,
        },
    }
