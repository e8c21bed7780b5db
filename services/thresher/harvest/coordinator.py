"""Harvest: plan, find what is done, run the rest on actors, write the manifest from the commit records."""

from dataclasses import dataclass
from pathlib import Path

import thresher
from thresher.activations.sequences import open_sequences
from thresher.contracts import paths
from thresher.contracts.errors import MissingArtifactError, SpecError, StoreError
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import (
    CorpusManifest,
    DictionaryManifest,
    DictionaryRef,
    EngineProvenance,
    HarvestManifest,
    ModelIdentity,
    ShardCommit,
    SiteSummary,
)
from thresher.contracts.names import parse_reference
from thresher.contracts.sites import Site
from thresher.harvest.actor_pool import run_shards
from thresher.harvest.plan import ShardPlan, harvested_splits, plan_shards
from thresher.harvest.site_map import check_kind, family_of, site_width
from thresher.harvest.spec import HarvestSpec
from thresher.runtime.model_identity import identify_model
from thresher.runtime.progress import progress
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import check_sizes, find_record, publish_manifest, read_record, record_bytes


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
    corpus = open_sequences(store, spec.corpus).manifest
    if corpus.tokenizer_sha256 != model.tokenizer_sha256:
        raise SpecError(
            "corpus", spec.corpus, mend="It was tokenised for another model: build it with this tokenizer."
        )
    if not harvested_splits(spec, corpus):
        raise SpecError(
            "splits", spec.splits, mend="These splits of the corpus are empty: build a larger corpus."
        )
    dictionary = None
    if spec.dictionary is not None:
        artifact = paths.dictionary(*parse_reference("dictionary", spec.dictionary))
        dictionary = read_record(store, paths.manifest(artifact), DictionaryManifest)
        _check_dictionary(spec, dictionary, model)
    return HarvestInputs(spec, store, corpus, model, dictionary)


def _check_sites(spec: HarvestSpec, model: ModelIdentity) -> None:
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
    if dictionary.site != spec.sites[0]:
        raise SpecError(
            "sites", spec.sites[0], allowed=[dictionary.site], mend="Use the site it was fitted on."
        )
    width = site_width(Site.parse(dictionary.site).kind, model)
    if dictionary.d_in != width:
        raise SpecError(
            "dictionary",
            spec.dictionary,
            mend=f"It reads {dictionary.d_in} values a row, not {width}.",
        )


def harvest(spec: HarvestSpec) -> HarvestManifest:
    """Make a harvest whole: run what is missing of it, and nothing if its manifest exists.

    Raises:
        SpecError, MissingArtifactError, StoreError: before any engine starts.
        HarvestError: a shard failed more often than allowed; the shards before it stay committed.
    """
    inputs = resolve_inputs(spec)
    artifact = paths.harvest(inputs.harvest_id)
    found = find_record(inputs.store, paths.manifest(artifact), HarvestManifest)
    if found is not None:
        return found
    if not inputs.store.has_conditional_writes():
        raise StoreError(
            f"{inputs.store.url} does not keep conditional writes, which exactly-once commits need."
        )
    inputs.store.put(paths.spec(artifact), record_bytes(spec))
    plans = plan_shards(spec, inputs.corpus, artifact)
    commits = committed_shards(inputs.store, plans)
    missing = [plan for plan in plans if plan.index not in commits]
    total = sum(plan.num_tokens for plan in plans)
    with progress("harvest", total, "tokens", done=total - sum(plan.num_tokens for plan in missing)) as meter:
        for commit in run_shards(spec, inputs.corpus.sequence_length, missing):
            commits[commit.index] = commit
            meter.advance(commit.num_rows)
    return publish_manifest(
        inputs.store, artifact, build_manifest(inputs, [commits[plan.index] for plan in plans])
    )


def committed_shards(store: ObjectStore, plans: list[ShardPlan]) -> dict[int, ShardCommit]:
    """The shards that are done: their commit record exists and their objects are there at their sizes."""
    done: dict[int, ShardCommit] = {}
    if not plans:
        return done
    keys = {info.key for info in store.list(f"{plans[0].artifact}/commits/")}
    for plan in plans:
        key = paths.shard_commit(plan.artifact, plan.index)
        if key in keys:
            record = read_record(store, key, ShardCommit)
            check_sizes(store, [*record.sites.values(), record.rows])
            done[plan.index] = record
    return done


def build_manifest(inputs: HarvestInputs, commits: list[ShardCommit]) -> HarvestManifest:
    """The manifest from the commit records alone, checked against the plan."""
    splits = harvested_splits(inputs.spec, inputs.corpus)
    num_rows = sum(commit.num_rows for commit in commits)
    expected = sum(item.stop - item.start for item in splits) * inputs.corpus.sequence_length
    if num_rows != expected:
        raise MissingArtifactError(
            f"Harvest {inputs.harvest_id} has {num_rows} rows, should have {expected}."
        )
    check_sizes(
        inputs.store, [entry for commit in commits for entry in [*commit.sites.values(), commit.rows]]
    )
    return HarvestManifest(
        harvest_id=inputs.harvest_id,
        spec=inputs.spec.identity(),
        model=inputs.model,
        corpus_id=inputs.corpus.corpus_id,
        sequence_length=inputs.corpus.sequence_length,
        splits=splits,
        selection=inputs.spec.selection,
        encoding="sparse" if inputs.dictionary else inputs.spec.encoding,
        dictionary=inputs.dictionary_ref,
        sites={
            site: SiteSummary(
                width=_row_width(inputs, site),
                relative_error=max(commit.sites[site].relative_error for commit in commits),
            )
            for site in inputs.spec.sites
        },
        num_rows=num_rows,
        shards=commits,
        provenance=_distinct([commit.provenance for commit in commits]),
        code_version=thresher.__version__,
    )


def _row_width(inputs: HarvestInputs, site: str) -> int:
    if inputs.dictionary is not None:
        return inputs.dictionary.num_latents
    return site_width(Site.parse(site).kind, inputs.model)


def _distinct(items: list[EngineProvenance]) -> list[EngineProvenance]:
    return [item for index, item in enumerate(items) if item not in items[:index]]
