"""Imports a dictionary that another tool made: read, checked, placed, and stored as a fit's is."""

from typing import Any

import torch

from thresher import __version__
from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import (
    CorpusManifest,
    DictionaryManifest,
    DictionaryOrigin,
    HarvestManifest,
    ModelIdentity,
)
from thresher.dictionary.claim import claim_dictionary
from thresher.dictionary.formats.foreign import ForeignDictionary
from thresher.dictionary.formats.known import READERS
from thresher.dictionary.formats.placement import check_harvest, check_model, placed
from thresher.dictionary.formats.quality import measure
from thresher.dictionary.formats.source_folder import SourceFolder
from thresher.dictionary.formats.spec import ImportDictionarySpec
from thresher.dictionary.hook_names import hook_name
from thresher.latents.folder_config import config_json
from thresher.latents.weights import CONFIG_FILE, WEIGHTS_FILE, weights_safetensors
from thresher.runtime.model_identity import identify_model
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import find_record, publish_manifest, put_file, read_record, record_bytes


@torch.no_grad()
def import_dictionary(spec: ImportDictionarySpec) -> DictionaryManifest:
    """Import the dictionary, or find it imported. Memory is that of about four copies of the weights.

    Raises:
        SpecError: the folder cannot be read or expressed, or does not fit its sites, the model or the harvest.
        MissingArtifactError: there is no such harvest.
        AlreadyExistsError: the version was made from something else.
    """
    store, folder = open_store(spec.root), SourceFolder(spec.source.path)
    found = placed(spec, READERS[spec.source.format](folder))
    harvest = _harvest(store, spec)
    model = _model(spec, harvest)
    if harvest is not None:
        check_harvest(found, harvest)
    if model is not None:
        check_model(found, model)
    import_id = _import_id(spec, folder, model)
    version = claim_dictionary(store, spec.name, import_id, spec.version)
    artifact = paths.dictionary(spec.name, version)
    made = find_record(store, paths.manifest(artifact), DictionaryManifest)
    if made is not None:
        return made
    store.put(paths.spec(artifact), record_bytes(spec))
    metadata = _metadata(store, spec, found, harvest, model, import_id)
    manifest = DictionaryManifest(
        name=spec.name,
        version=version,
        fit_id=import_id,
        spec=spec.identity(),
        architecture=found.architecture,
        harvest_id=spec.harvest,
        site=str(found.site),
        d_in=found.encoder.d_in,
        num_latents=found.encoder.num_latents,
        k=found.encoder.k or found.k,
        num_training_rows=None,
        metrics=None if harvest is None else measure(store, harvest, found, spec),
        origin=DictionaryOrigin(
            format=spec.source.format,
            architecture=found.architecture,
            source=spec.source.path,
            files=folder.files,
        ),
        files=[
            put_file(
                store,
                f"{artifact}/{CONFIG_FILE}",
                config_json(found.encoder, metadata, found.kind, found.blocks),
            ),
            put_file(store, f"{artifact}/{WEIGHTS_FILE}", weights_safetensors(found.encoder)),
        ],
        code_version=__version__,
    )
    return publish_manifest(store, artifact, manifest)


def _harvest(store: ObjectStore, spec: ImportDictionarySpec) -> HarvestManifest | None:
    if spec.harvest is None:
        return None
    return read_record(store, paths.manifest(paths.harvest(spec.harvest)), HarvestManifest)


def _model(spec: ImportDictionarySpec, harvest: HarvestManifest | None) -> ModelIdentity | None:
    harvested = None if harvest is None else harvest.model
    given = None if spec.model is None else identify_model(spec.model)
    if given is not None and harvested is not None and given.weights_sha256 != harvested.weights_sha256:
        mend = f"Harvest {spec.harvest} was made with {harvested.name}, whose weights differ: leave one of them out."
        raise SpecError("model", spec.model, mend=mend)
    return harvested or given


def _import_id(spec: ImportDictionarySpec, folder: SourceFolder, model: ModelIdentity | None) -> str:
    parts = {
        "spec": spec.identity(),
        "files": {file.name: file.sha256 for file in folder.files},
        "model": None if model is None else model.weights_sha256,
        "code_version": __version__,
    }
    return content_id("import-dictionary", parts)


def _metadata(
    store: ObjectStore,
    spec: ImportDictionarySpec,
    found: ForeignDictionary,
    harvest: HarvestManifest | None,
    model: ModelIdentity | None,
    import_id: str,
) -> dict[str, Any]:
    """What SAELens needs to run the dictionary beside its model, and the lineage under `thresher`."""
    corpus_id = None if harvest is None else harvest.corpus_id
    corpus = (
        None
        if corpus_id is None
        else find_record(store, paths.manifest(paths.corpus(corpus_id)), CorpusManifest)
    )
    has_bos = None if corpus is None else corpus.bos_token_id is not None
    named = {"hook_name_out": hook_name(found.output_site)} if found.output_site else {}
    return {
        "model_name": spec.model_name or (model.name if model else found.model_name),
        "hook_name": hook_name(str(found.site)),
        **named,
        "context_size": found.context_size or (harvest.sequence_length if harvest else None),
        "prepend_bos": found.prepend_bos if found.prepend_bos is not None else has_bos,
        "thresher": {
            "fit_id": import_id,
            "harvest_id": spec.harvest,
            "corpus_id": corpus_id,
            "site": found.site,
            "output_site": found.output_site,
            "imported_from": spec.source.format,
            "model_weights_sha256": model.weights_sha256 if model else None,
            "tokenizer_sha256": model.tokenizer_sha256 if model else None,
            "code_version": __version__,
        },
    }
