"""Imports a dictionary that another tool made: read, checked, placed, and stored as a fit's is."""

from dataclasses import dataclass
from functools import cached_property
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
    DictionaryTarget,
    HarvestManifest,
    ModelIdentity,
    OriginFile,
    TargetSite,
)
from thresher.dictionary.claim import claim_dictionary
from thresher.dictionary.formats.foreign import ForeignDictionary
from thresher.dictionary.formats.known import READERS
from thresher.dictionary.formats.placement import check_harvest, check_model, placed, widths_of_sites
from thresher.dictionary.formats.quality import measure
from thresher.dictionary.formats.source_folder import SourceFolder
from thresher.dictionary.formats.spec import ImportDictionarySpec
from thresher.dictionary.hook_names import hook_name
from thresher.latents.folder_config import config_json
from thresher.latents.weights import CONFIG_FILE, WEIGHTS_FILE, weights_safetensors
from thresher.runtime.model_identity import identify_model
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import find_record, publish_manifest, put_file, read_record, record_bytes


@dataclass(frozen=True)
class _Checked:
    """A dictionary that was read, and fits what it is said to belong to."""

    spec: ImportDictionarySpec
    files: list[OriginFile]
    found: ForeignDictionary
    harvest: HarvestManifest | None
    model: ModelIdentity | None

    @cached_property
    def import_id(self) -> str:
        parts = {
            "spec": self.spec.identity(),
            "files": {file.name: file.sha256 for file in self.files},
            "model": None if self.model is None else self.model.weights_sha256,
            "code_version": __version__,
        }
        return content_id("import-dictionary", parts)


@torch.no_grad()
def import_dictionary(spec: ImportDictionarySpec) -> DictionaryManifest:
    """Import the dictionary, or find it imported. Memory is that of about four copies of the weights.

    Raises:
        SpecError: the folder cannot be read or expressed, or does not fit its sites, the model or the harvest.
        MissingArtifactError: there is no such harvest.
        AlreadyExistsError: the version was made from something else.
    """
    store = open_store(spec.root)
    checked = _check(store, spec)
    version = claim_dictionary(store, spec.name, checked.import_id, spec.version)
    made = find_record(store, paths.manifest(paths.dictionary(spec.name, version)), DictionaryManifest)
    return made or _publish(store, checked, version)


def _check(store: ObjectStore, spec: ImportDictionarySpec) -> _Checked:
    folder = SourceFolder(spec.source.path)
    found = placed(spec, READERS[spec.source.format](folder))
    harvest = None
    if spec.harvest is not None:
        harvest = read_record(store, paths.manifest(paths.harvest(spec.harvest)), HarvestManifest)
        check_harvest(found, harvest)
    model = _model(spec, harvest)
    if model is not None:
        check_model(found, model)
    return _Checked(spec, folder.files, found, harvest, model)


def _model(spec: ImportDictionarySpec, harvest: HarvestManifest | None) -> ModelIdentity | None:
    harvested = None if harvest is None else harvest.model
    given = None if spec.model is None else identify_model(spec.model)
    if given is not None and harvested is not None and given.weights_sha256 != harvested.weights_sha256:
        mend = f"Harvest {spec.harvest} was made with {harvested.name}, whose weights differ: leave one of them out."
        raise SpecError("model", spec.model, mend=mend)
    return harvested or given


def _publish(store: ObjectStore, checked: _Checked, version: str) -> DictionaryManifest:
    """Write the folder and, last, the manifest."""
    spec, found, harvest = checked.spec, checked.found, checked.harvest
    artifact = paths.dictionary(spec.name, version)
    store.put(paths.spec(artifact), record_bytes(spec))
    metrics = None if harvest is None else measure(store, harvest, found, spec)
    config = config_json(found.encoder, _metadata(store, checked), found.kind, found.blocks)
    manifest = DictionaryManifest(
        name=spec.name,
        version=version,
        fit_id=checked.import_id,
        spec=spec.identity(),
        architecture=found.architecture,
        target=_target(found, spec.harvest),
        d_in=found.encoder.d_in,
        d_out=found.encoder.d_out,
        num_latents=found.encoder.num_latents,
        k=found.encoder.k or found.k,
        num_training_rows=None,
        metrics=metrics,
        origin=DictionaryOrigin(
            format=spec.source.format,
            architecture=found.architecture,
            source=spec.source.path,
            files=checked.files,
        ),
        files=[
            put_file(store, f"{artifact}/{CONFIG_FILE}", config),
            put_file(store, f"{artifact}/{WEIGHTS_FILE}", weights_safetensors(found.encoder)),
        ],
        code_version=__version__,
    )
    return publish_manifest(store, artifact, manifest)


def _target(found: ForeignDictionary, harvest_id: str | None) -> DictionaryTarget:
    inputs, outputs = (
        [TargetSite(site=site, harvest_id=harvest_id, width=width) for site, width in sites]
        for sites in widths_of_sites(found)
    )
    return DictionaryTarget(kind=found.kind, inputs=inputs, outputs=outputs)


def _metadata(store: ObjectStore, checked: _Checked) -> dict[str, Any]:
    """What SAELens needs to run the dictionary beside its model, and the lineage under `thresher`."""
    spec, found, harvest, model = checked.spec, checked.found, checked.harvest, checked.model
    named = {"hook_name_out": hook_name(found.output_site)} if found.output_site else {}
    return {
        "model_name": spec.model_name or (model.name if model else found.model_name),
        "hook_name": hook_name(str(found.site)),
        **named,
        "context_size": found.context_size or (harvest.sequence_length if harvest else None),
        "prepend_bos": found.prepend_bos if found.prepend_bos is not None else _has_bos(store, harvest),
        "thresher": {
            "fit_id": checked.import_id,
            "harvest_id": spec.harvest,
            "corpus_id": harvest.corpus_id if harvest else None,
            "target": _target(found, spec.harvest).model_dump(mode="json"),
            "imported_from": spec.source.format,
            "model_weights_sha256": model.weights_sha256 if model else None,
            "tokenizer_sha256": model.tokenizer_sha256 if model else None,
            "code_version": __version__,
        },
    }


def _has_bos(store: ObjectStore, harvest: HarvestManifest | None) -> bool | None:
    """Whether sequences of the harvest's corpus begin with BOS, as far as that is known."""
    if harvest is None or harvest.corpus_id is None:
        return None
    corpus = find_record(store, paths.manifest(paths.corpus(harvest.corpus_id)), CorpusManifest)
    return None if corpus is None else corpus.bos_token_id is not None
