"""Which sequences make which shard: a function of the corpus and the spec alone."""

from pydantic import BaseModel, ConfigDict

from thresher.contracts.manifests import CorpusManifest, FileEntry, SiteFile, SplitRange
from thresher.harvest.spec import HarvestSpec


class ShardPlan(BaseModel):
    """One shard to make: sequences [first_sequence, first_sequence + num_sequences) of one split."""

    model_config = ConfigDict(frozen=True)

    artifact: str
    index: int
    first_sequence: int
    num_sequences: int
    sequence_length: int

    @property
    def num_tokens(self) -> int:
        return self.num_sequences * self.sequence_length


class ShardPart(BaseModel):
    """What one rank of an engine wrote of a shard: all of it, but for pipeline stages, which write their own sites."""

    model_config = ConfigDict(frozen=True)

    index: int
    num_rows: int | None
    """Null of a rank that has none of the sites."""
    sites: dict[str, SiteFile]
    rows: FileEntry | None
    """The table of addresses, of the one rank that writes it."""


def harvested_splits(spec: HarvestSpec, corpus: CorpusManifest) -> list[SplitRange]:
    """The splits to run, in the corpus's order, without empty ones."""
    return [item for item in corpus.splits if item.split in spec.splits and item.stop > item.start]


def plan_shards(spec: HarvestSpec, corpus: CorpusManifest, artifact: str) -> list[ShardPlan]:
    """Cut each split into shards; a shard never crosses two splits."""
    plans: list[ShardPlan] = []
    for item in harvested_splits(spec, corpus):
        for first in range(item.start, item.stop, spec.sequences_per_shard):
            plans.append(
                ShardPlan(
                    artifact=artifact,
                    index=len(plans),
                    first_sequence=first,
                    num_sequences=min(spec.sequences_per_shard, item.stop - first),
                    sequence_length=corpus.sequence_length,
                )
            )
    return plans
