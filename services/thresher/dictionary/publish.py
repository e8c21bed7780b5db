"""Writes a trained dictionary: the SAELens folder, its manifest last."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from thresher import __version__
from thresher.contracts import paths
from thresher.contracts.manifests import (
    CorpusManifest,
    DictionaryManifest,
    DictionaryTarget,
    FileEntry,
    MixedHarvest,
)
from thresher.dictionary.evaluation import calibrate, evaluate
from thresher.dictionary.hook_names import hook_name
from thresher.dictionary.job import FitJob
from thresher.dictionary.target.harvests import TargetHarvests
from thresher.dictionary.target.rows import TargetRows
from thresher.latents.encoder import SparseEncoder
from thresher.latents.folder_config import DictionaryKind, SiteBlock, config_json
from thresher.latents.weights import CONFIG_FILE, WEIGHTS_FILE, weights_safetensors
from thresher.storage import ObjectStore
from thresher.storage.artifacts import find_record, publish_manifest, put_file


@torch.no_grad()
def publish_dictionary(
    job: FitJob,
    store: ObjectStore,
    harvests: TargetHarvests,
    rows: TargetRows,
    uncalibrated: SparseEncoder,
    records: Sequence[FileEntry],
) -> DictionaryManifest:
    """Calibrate the threshold of a trained dictionary, evaluate and write it; `records` tell of its training."""
    spec, artifact = job.spec, job.artifact
    encoder = calibrate(uncalibrated, rows, spec)
    target = rows.described()
    blocks = site_blocks(target)
    metrics = evaluate(encoder, rows.holdout, {block.name: block.width for block in blocks})
    metadata = saelens_metadata(store, harvests, target, job.fit_id)
    files = [
        put_file(
            store, f"{artifact}/{CONFIG_FILE}", config_json(encoder, metadata, folder_kind(target), blocks)
        ),
        put_file(store, f"{artifact}/{WEIGHTS_FILE}", weights_safetensors(encoder)),
        *records,
    ]
    manifest = DictionaryManifest(
        name=spec.name,
        version=job.version,
        fit_id=job.fit_id,
        spec=spec.identity(),
        architecture=spec.architecture.kind,
        target=target,
        mixture=[MixedHarvest(harvest_id=item.harvest, weight=item.weight) for item in spec.mixture],
        d_in=harvests.d_in,
        d_out=harvests.d_out,
        num_latents=encoder.num_latents,
        k=getattr(spec.architecture, "k", None),
        num_training_rows=spec.training.num_steps * spec.training.batch_rows,
        metrics=metrics,
        files=files,
        code_version=__version__,
    )
    return publish_manifest(store, artifact, manifest)


def folder_kind(target: DictionaryTarget) -> DictionaryKind:
    """What cfg.json calls the target: the dictionary of a layer group reads single sites, as an autoencoder does."""
    return "autoencoder" if target.kind == "layer_group" else target.kind


def site_blocks(target: DictionaryTarget) -> list[SiteBlock]:
    """The columns of a crosscoder's rows; a site that two harvests have goes by the harvest, too."""
    if target.kind != "crosscoder":
        return []
    names = Counter(item.site for item in target.inputs)
    return [
        SiteBlock(item.site if names[item.site] == 1 else f"{item.harvest_id}/{item.site}", item.width)
        for item in target.inputs
    ]


def saelens_metadata(
    store: ObjectStore, harvests: TargetHarvests, target: DictionaryTarget, fit_id: str
) -> dict[str, Any]:
    """What SAELens needs to run the dictionary beside its model, and the lineage under `thresher`."""
    harvest = harvests.by_id[harvests.spec.harvest]
    corpus = (
        find_record(store, paths.manifest(paths.corpus(harvest.corpus_id)), CorpusManifest)
        if harvest.corpus_id
        else None
    )
    model = harvest.model
    return {
        "model_name": model.name if model else None,
        "hook_name": hook_name(target.inputs[0].site),
        **({"hook_name_out": hook_name(target.outputs[0].site)} if target.kind == "transcoder" else {}),
        "context_size": harvest.sequence_length,
        "prepend_bos": corpus is not None and corpus.bos_token_id is not None,
        "thresher": {
            "fit_id": fit_id,
            "harvest_id": harvest.harvest_id,
            "corpus_id": harvest.corpus_id,
            "target": target.model_dump(mode="json"),
            "model_weights_sha256": model.weights_sha256 if model else None,
            "tokenizer_sha256": model.tokenizer_sha256 if model else None,
            "code_version": __version__,
        },
    }
