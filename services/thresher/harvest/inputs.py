"""What a harvest needs from upstream: found and checked before an engine starts."""

from dataclasses import dataclass
from pathlib import Path

import thresher
from thresher.activations.row_selection import RowSelector
from thresher.activations.sequences import open_sequences
from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import CorpusManifest, DictionaryManifest, DictionaryRef, ModelIdentity
from thresher.contracts.names import parse_reference
from thresher.contracts.sites import Site, site_width
from thresher.harvest.plan import harvested_splits
from thresher.harvest.site_map import check_kind, check_tensor_parallel, family_of
from thresher.harvest.spec import HarvestSpec
from thresher.harvest.tap_choice import reads_auxiliary_outputs
from thresher.runtime.model_identity import identify_model
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import read_record


@dataclass(frozen=True)
class HarvestInputs:
    """Everything upstream of a harvest, found and checked before an engine starts."""

    spec: HarvestSpec
    store: ObjectStore
    corpus: CorpusManifest
    model: ModelIdentity
    dictionary: DictionaryManifest | None

    @property
    def dictionary_ref(self) -> DictionaryRef | None:
        return self.dictionary.ref() if self.dictionary else None

    @property
    def harvest_id(self) -> str:
        ref = self.dictionary_ref
        return content_id(
            "harvest",
            {
                "spec": self.spec.identity(),
                "model": self.model.model_dump(exclude={"name"}),
                "corpus": self.corpus.corpus_id,
                "dictionary": ref.model_dump() if ref else None,
                "code_version": thresher.__version__,
            },
        )


def resolve_inputs(spec: HarvestSpec) -> HarvestInputs:
    """Find and check what the spec names.

    Raises:
        SpecError: a site, layer, model or dictionary does not fit.
        MissingArtifactError: the corpus or the dictionary is not in the store.
    """
    model = identify_model(spec.model)
    _check_sites(spec, model)
    store = open_store(spec.root)
    sequences = open_sequences(store, spec.corpus)
    corpus = sequences.manifest
    if corpus.tokenizer_sha256 != model.tokenizer_sha256:
        raise SpecError(
            "corpus", spec.corpus, mend="It was tokenised for another model: build it with this tokenizer."
        )
    if not harvested_splits(spec, corpus):
        raise SpecError(
            "splits", spec.splits, mend="These splits of the corpus are empty: build a larger corpus."
        )
    RowSelector(spec.selection, corpus).check(sequences, harvested_splits(spec, corpus))
    dictionary = None
    if spec.dictionary is not None:
        artifact = paths.dictionary(*parse_reference("dictionary", spec.dictionary))
        dictionary = read_record(store, paths.manifest(artifact), DictionaryManifest)
        _check_dictionary(spec, dictionary, model)
    return HarvestInputs(spec, store, corpus, model, dictionary)


def _check_sites(spec: HarvestSpec, model: ModelIdentity) -> None:
    check_tensor_parallel(spec.sites, spec.engine.tensor_parallel)
    reads_auxiliary_outputs(spec, model.architecture, is_cpu=True)
    family = family_of(model.architecture, spec.family, Path(spec.model))
    for text in spec.sites:
        site = Site.parse(text)
        if site.layer >= model.num_layers:
            raise SpecError(
                "sites", text, allowed=f"layers 0 to {model.num_layers - 1}", mend="Lower the layer."
            )
        check_kind(family, site)
        site_width(site.kind, model)


def _check_dictionary(spec: HarvestSpec, dictionary: DictionaryManifest, model: ModelIdentity) -> None:
    target, site = dictionary.target, spec.sites[0]
    if target.kind == "crosscoder":
        raise SpecError(
            "dictionary",
            spec.dictionary,
            allowed="dictionaries that read one site",
            mend=f"It is a crosscoder: a code needs the rows of {target} together, which no worker has.",
        )
    if target.input_of(site) is None:
        raise SpecError(
            "sites",
            site,
            allowed=[item.site for item in target.inputs],
            mend="Use a site that it reads.",
        )
    width = site_width(Site.parse(site).kind, model)
    if dictionary.d_in != width:
        raise SpecError(
            "dictionary",
            spec.dictionary,
            mend=f"It reads {dictionary.d_in} values a row, not {width}.",
        )
