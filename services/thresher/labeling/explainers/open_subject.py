"""The subject model of a features artifact, checked against the dictionary whose vectors it is to decode."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch

from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import DictionaryManifest, FeaturesManifest, HarvestManifest, ModelIdentity
from thresher.contracts.sites import Site
from thresher.labeling.explainers.spec import SelfExplainingSpec
from thresher.labeling.explainers.subject import LocalSubject
from thresher.latents.subject.places import places_of
from thresher.latents.weights import load_encoder, read_dictionary
from thresher.runtime.model_identity import identify_model
from thresher.storage import ObjectStore
from thresher.storage.artifacts import find_record

STREAM_KINDS = ("resid_pre", "resid_mid", "resid_post", "mlp_out", "attn_out")
"""Kinds of site whose rows are in the residual stream, or are added to it as they are."""


def open_subject(
    store: ObjectStore, features: FeaturesManifest, spec: SelfExplainingSpec, wanted: Sequence[int]
) -> LocalSubject:
    """A subject that knows the vectors of the `wanted` features. Neither model nor weights are loaded yet.

    Raises:
        SpecError: the folder holds no model or another one, its family is unknown, it has no such layer, or the
            dictionary's vectors are not in its residual stream.
        MissingArtifactError: the dictionary is not in the store.
    """
    identity = identify_model(spec.model)
    reference = f"{features.dictionary.name}@{features.dictionary.version}"
    _check_model(store, features, spec, identity)
    _check_vectors(read_dictionary(store, reference), identity)
    return LocalSubject(Path(spec.model), identity, spec.layer, _vectors(store, reference, wanted))


def _vectors(store: ObjectStore, reference: str, wanted: Sequence[int]) -> Callable[[int], torch.Tensor]:
    """From a feature to its decoder's vector; the dictionary is read once, and only what is wanted is kept."""

    @cache
    def kept() -> dict[int, torch.Tensor]:
        encoder, _ = load_encoder(store, reference)
        return {feature: encoder.W_dec_FE[feature].clone() for feature in wanted}

    return lambda feature: kept()[feature]


def _check_model(
    store: ObjectStore, features: FeaturesManifest, spec: SelfExplainingSpec, identity: ModelIdentity
) -> None:
    places_of(identity.architecture)
    if spec.layer >= identity.num_layers:
        raise SpecError(
            "explainer.layer",
            spec.layer,
            allowed=f"0 to {identity.num_layers - 1}",
            mend="Name a layer it has.",
        )
    harvest = find_record(store, paths.manifest(paths.harvest(features.harvest_id)), HarvestManifest)
    made_with = harvest.model if harvest is not None else None
    if made_with is not None and made_with.weights_sha256 != identity.weights_sha256:
        raise SpecError(
            "explainer.model",
            spec.model,
            mend=f"The features were harvested with {made_with.name}, whose weights are others: give its folder.",
        )


def _check_vectors(dictionary: DictionaryManifest, identity: ModelIdentity) -> None:
    target = dictionary.target
    site = Site.parse(target.outputs[0].site) if target.kind in ("autoencoder", "transcoder") else None
    if site is None or site.kind not in STREAM_KINDS:
        raise SpecError(
            "explainer.method",
            "self_explaining",
            mend=f"The dictionary is of {dictionary.site}: its vectors lie in no model's residual stream.",
        )
    if dictionary.d_out != identity.d_model:
        raise SpecError(
            "explainer.model",
            identity.name,
            mend=f"Its residual stream is {identity.d_model} wide, the dictionary's vectors {dictionary.d_out}: "
            "give the folder of the model that was harvested.",
        )
