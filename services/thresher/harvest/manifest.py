"""The manifest of a harvest, from its commit records alone."""

import thresher
from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import EngineProvenance, HarvestManifest, ShardCommit, SiteSummary
from thresher.contracts.sites import Site, site_width
from thresher.harvest.committed import object_sizes, size_fault
from thresher.harvest.inputs import HarvestInputs
from thresher.harvest.plan import ShardPlan, harvested_splits, plan_shards


def build_manifest(inputs: HarvestInputs, commits: list[ShardCommit]) -> HarvestManifest:
    """The manifest from the commit records alone, checked against the plan.

    Raises:
        IntegrityError: a record is not of this plan, or an object that one names is not there at its size.
    """
    _check_commits(inputs, commits)
    return HarvestManifest(
        harvest_id=inputs.harvest_id,
        spec=inputs.spec.identity(),
        model=inputs.model,
        corpus_id=inputs.corpus.corpus_id,
        sequence_length=inputs.corpus.sequence_length,
        splits=harvested_splits(inputs.spec, inputs.corpus),
        selection=inputs.spec.selection,
        encoding="sparse" if inputs.dictionary else inputs.spec.encoding,
        dictionary=inputs.dictionary_ref,
        sites={
            site: SiteSummary(
                width=_row_width(inputs, site),
                relative_error=max(commit.sites[site].relative_error for commit in commits),
                max_row_error=max(commit.sites[site].max_row_error for commit in commits),
            )
            for site in inputs.spec.sites
        },
        num_rows=sum(commit.num_rows for commit in commits),
        shards=commits,
        provenance=_distinct([commit.provenance for commit in commits]),
        code_version=thresher.__version__,
    )


def _check_commits(inputs: HarvestInputs, commits: list[ShardCommit]) -> None:
    artifact = paths.harvest(inputs.harvest_id)
    plans = plan_shards(inputs.spec, inputs.corpus, artifact)
    sizes = object_sizes(inputs.store, artifact)
    for plan, commit in zip(plans, commits, strict=True):
        fault = _plan_fault(inputs, plan, commit) or size_fault(commit, sizes)
        if fault is not None:
            raise IntegrityError(
                f"{inputs.store.url}: shard {plan.index} of harvest {inputs.harvest_id} is damaged: {fault}. Run the "
                "same spec again: it is made anew."
            )


def _plan_fault(inputs: HarvestInputs, plan: ShardPlan, commit: ShardCommit) -> str | None:
    expected = (plan.index, plan.first_sequence, plan.num_sequences)
    if (commit.index, commit.first_sequence, commit.num_sequences) != expected:
        return f"its record is of sequences from {commit.first_sequence}, not from {plan.first_sequence}"
    if inputs.spec.selection.keeps_all and commit.num_rows != plan.num_tokens:
        return f"its record has {commit.num_rows} rows, not {plan.num_tokens}"
    return None


def _row_width(inputs: HarvestInputs, site: str) -> int:
    if inputs.dictionary is not None:
        return inputs.dictionary.num_latents
    return site_width(Site.parse(site).kind, inputs.model)


def _distinct(items: list[EngineProvenance]) -> list[EngineProvenance]:
    return [item for index, item in enumerate(items) if item not in items[:index]]
