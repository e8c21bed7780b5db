"""The subject model of a features artifact, checked against the dictionary before anything is asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import (
    CorpusManifest,
    DictionaryManifest,
    FeaturesManifest,
    HarvestManifest,
    ModelIdentity,
)
from thresher.contracts.sites import Site, site_width
from thresher.labeling.endpoints.model_client import ModelClient
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.subject.encoding import Encoding
from thresher.labeling.subject.local_subject import LocalSubject
from thresher.labeling.subject.patching import Patching, patched_site
from thresher.labeling.subject.requests import Ground
from thresher.labeling.subject.steering import Steering
from thresher.labeling.subject.vectors import FeatureVectors
from thresher.latents.subject.places import places_of
from thresher.latents.weights import read_dictionary
from thresher.runtime.model_identity import check_same_model, identify_model, model_folder
from thresher.storage import ObjectStore
from thresher.storage.artifacts import find_record

STREAM_KINDS = ("resid_pre", "resid_mid", "resid_post", "mlp_out", "attn_out")
"""Kinds of site whose rows are in the residual stream, or are added to it as they are."""
FIRST_POSITION = 1
"""That counts, where the features do not say."""


@dataclass(frozen=True)
class OpenSubject:
    """Where the subject is asked, and on what ground."""

    exchange: Exchange
    ground: Ground


class SubjectRoom:
    """Opens the subject for whoever asks it; each model is loaded once. Neither models nor weights are loaded yet.

    Args:
        wanted: features that will be asked about.
        around: makes an exchange of a client.
    """

    def __init__(
        self,
        store: ObjectStore,
        features: FeaturesManifest,
        wanted: Sequence[int],
        around: Callable[[ModelClient], Exchange],
    ) -> None:
        self._store, self._features, self._wanted, self._around = store, features, wanted, around
        self._opened: dict[str, tuple[LocalSubject, Exchange]] = {}

    def for_patching(self, section: str, folder: str, layer: int) -> Exchange:
        """Of a subject that decodes the wanted features' vectors.

        Raises:
            SpecError: the folder holds no model or another one, its family is unknown, it has no such layer, or the
                dictionary's vectors are not in its residual stream.
            MissingArtifactError: the dictionary is not in the store.
        """
        identity = self._identity(section, folder)
        if layer >= identity.num_layers:
            allowed = f"0 to {identity.num_layers - 1}"
            raise SpecError(f"{section}.layer", layer, allowed=allowed, mend="Name a layer it has.")
        self._check_width(section, self._stream_site(section), self._dictionary.d_out, identity)
        subject, exchange = self._subject(folder, identity)
        self._vectors.want(self._wanted)
        subject.add("patch", Patching(self._vectors.vector), [patched_site(layer)])
        return exchange

    def for_encoding(self, section: str, folder: str) -> OpenSubject:
        """Of a subject on whose rows the wanted features fire.

        Raises:
            SpecError: the folder holds no model or another one, or it has not the dictionary's site.
            MissingArtifactError: the dictionary is not in the store.
        """
        identity = self._identity(section, folder)
        site = self._features.site
        read = self._dictionary.target.input_of(site)
        if read is None:
            mend = f"It reads several sites at once, and no text fires at one alone: set {section} to null."
            raise SpecError(section, self._dictionary.site, mend=mend)
        self._check_place(section, site, read.width, identity)
        subject, exchange = self._subject(folder, identity)
        self._vectors.want(self._wanted)
        subject.add("firing", Encoding(self._vectors), [site])
        return OpenSubject(exchange, self._ground(site, identity))

    def for_steering(self, section: str, folder: str, others: Sequence[int]) -> OpenSubject:
        """Of a subject that goes on with texts while a wanted feature, or one of the `others`, is added.

        Raises:
            SpecError: the folder holds no model or another one, or the dictionary's vectors are not in its stream.
            MissingArtifactError: the dictionary is not in the store.
        """
        identity = self._identity(section, folder)
        site = self._stream_site(section)
        self._check_place(section, site, self._dictionary.d_out, identity)
        subject, exchange = self._subject(folder, identity)
        self._vectors.want([*self._wanted, *others])
        subject.add("steering", Steering(self._vectors), [site])
        return OpenSubject(exchange, self._ground(site, identity))

    def _subject(self, folder: str, identity: ModelIdentity) -> tuple[LocalSubject, Exchange]:
        if identity.weights_sha256 not in self._opened:
            subject = LocalSubject(Path(folder), identity, self._family)
            self._opened[identity.weights_sha256] = subject, self._around(subject)
        return self._opened[identity.weights_sha256]

    def _identity(self, section: str, folder: str) -> ModelIdentity:
        """Of the folder; the model that was harvested, where the harvest is still there to say so."""
        field = f"{section}.model"
        model_folder(field, folder)
        if self._harvest is None or self._harvest.model is None:
            identity = identify_model(folder)
        else:
            identity = check_same_model(field, self._harvest.model, folder)
        places_of(self._family or identity.architecture)
        return identity

    def _stream_site(self, section: str) -> str:
        """Where the decoder adds its vectors."""
        dictionary, target = self._dictionary, self._dictionary.target
        site = self._features.site if target.kind == "layer_group" else target.outputs[0].site
        if target.kind == "crosscoder" or Site.parse(site).kind not in STREAM_KINDS:
            raise SpecError(
                section,
                dictionary.site,
                allowed=STREAM_KINDS,
                mend="The dictionary's vectors lie in no model's residual stream at one site: do without this.",
            )
        return site

    def _check_place(self, section: str, name: str, width: int, identity: ModelIdentity) -> None:
        site, places = Site.parse(name), places_of(self._family or identity.architecture)
        if site.layer >= identity.num_layers or site.kind not in places.by_kind:
            raise SpecError(
                f"{section}.model",
                identity.name,
                mend=f"It has no site {name}: give the harvested model's folder.",
            )
        self._check_width(section, name, width, identity)

    def _check_width(self, section: str, name: str, width: int, identity: ModelIdentity) -> None:
        found = site_width(Site.parse(name).kind, identity)
        if found != width:
            raise SpecError(
                f"{section}.model",
                identity.name,
                mend=f"Its rows at {name} are {found} wide, the dictionary's {width}: give the folder of the "
                "model that was harvested.",
            )

    def _ground(self, site: str, identity: ModelIdentity) -> Ground:
        corpus = find_record(
            self._store, paths.manifest(paths.corpus(self._features.corpus_id)), CorpusManifest
        )
        first = None if corpus is None else corpus.bos_token_id
        if corpus is not None and first is None:
            first = corpus.separator_token_id
        return Ground(
            self._features.dictionary.weights_sha256,
            identity.tokenizer_sha256,
            site,
            first,
            int(self._features.spec.get("min_position", FIRST_POSITION)),
        )

    @cached_property
    def _dictionary(self) -> DictionaryManifest:
        return read_dictionary(self._store, str(self._features.dictionary))

    @cached_property
    def _vectors(self) -> FeatureVectors:
        return FeatureVectors(self._store, str(self._features.dictionary), self._features.site)

    @cached_property
    def _harvest(self) -> HarvestManifest | None:
        return find_record(
            self._store, paths.manifest(paths.harvest(self._features.harvest_id)), HarvestManifest
        )

    @property
    def _family(self) -> str | None:
        return None if self._harvest is None else self._harvest.spec.get("family")
