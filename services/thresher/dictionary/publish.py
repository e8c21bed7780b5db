"""Writes a trained dictionary: the SAELens folder, its manifest last."""

from typing import Any

import torch

from thresher import __version__
from thresher.activations.dense_reader import DenseSite
from thresher.contracts import paths
from thresher.contracts.manifests import (
    CorpusManifest,
    DictionaryManifest,
    FileEntry,
    HarvestManifest,
)
from thresher.dictionary.evaluation import calibrate, evaluate
from thresher.dictionary.job import FitJob
from thresher.dictionary.spec import FitSpec
from thresher.latents.encoder import SparseEncoder
from thresher.latents.weights import CONFIG_FILE, WEIGHTS_FILE, config_json, weights_safetensors
from thresher.storage import ObjectStore
from thresher.storage.artifacts import find_record, publish_manifest, put_file

HOOK_NAMES = {
    "resid_pre": "blocks.{layer}.hook_resid_pre",
    "resid_mid": "blocks.{layer}.hook_resid_mid",
    "resid_post": "blocks.{layer}.hook_resid_post",
    "mlp_in": "blocks.{layer}.mlp.hook_in",
    "mlp_out": "blocks.{layer}.hook_mlp_out",
    "attn_out": "blocks.{layer}.hook_attn_out",
    "mlp_neurons": "blocks.{layer}.mlp.hook_post",
}
"""TransformerLens' name of each kind of site, which SAELens finds the model's activations by."""


def hook_name(site: str) -> str:
    """What SAELens calls a site; imported activations have no other name than their own."""
    kind, _, layer = site.partition(".")
    return HOOK_NAMES.get(kind, site).format(layer=layer)


@torch.no_grad()
def publish_dictionary(
    job: FitJob,
    store: ObjectStore,
    harvest: HarvestManifest,
    site: DenseSite,
    uncalibrated: SparseEncoder,
    records: FileEntry,
) -> DictionaryManifest:
    """Calibrate the threshold of a trained dictionary, evaluate and write it; `records` are of its training."""
    spec, artifact = job.spec, job.artifact
    encoder = calibrate(uncalibrated, site, harvest, spec)
    metrics = evaluate(encoder, site, harvest, spec)
    metadata = saelens_metadata(store, harvest, spec, job.fit_id)
    files = [
        put_file(store, f"{artifact}/{CONFIG_FILE}", config_json(encoder, metadata)),
        put_file(store, f"{artifact}/{WEIGHTS_FILE}", weights_safetensors(encoder)),
        records,
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
