"""From the parts that the ranks of an engine wrote to the one commit record of a shard."""

from collections.abc import Sequence

from thresher.contracts import paths
from thresher.contracts.manifests import EngineProvenance, ShardCommit
from thresher.harvest.assembler import CoverageError
from thresher.harvest.plan import ShardPart, ShardPlan
from thresher.storage import ObjectStore
from thresher.storage.artifacts import check_sizes, create_record


def commit_shard(
    store: ObjectStore,
    plan: ShardPlan,
    parts: Sequence[ShardPart],
    sites: Sequence[str],
    provenance: EngineProvenance,
) -> ShardCommit:
    """Check that the parts make one whole shard, that the store has its objects, and create the record.

    Returns the record that holds, which is another writer's if that one was first.

    Raises:
        CoverageError: a site was written by no rank or by two, or the ranks differ in their rows.
        IntegrityError: the store lost an object.
    """
    written = [site for part in parts for site in part.sites]
    if sorted(written) != sorted(sites):
        raise CoverageError(
            f"Shard {plan.index} should have sites {sorted(sites)}; ranks wrote {sorted(written)}."
        )
    counts = {part.num_rows for part in parts if part.num_rows is not None}
    tables = [part.rows for part in parts if part.rows is not None]
    if len(counts) != 1 or len(tables) != 1:
        raise CoverageError(
            f"Shard {plan.index}: ranks wrote {sorted(counts)} rows and {len(tables)} tables of addresses, not one."
        )
    record = ShardCommit(
        index=plan.index,
        first_sequence=plan.first_sequence,
        num_sequences=plan.num_sequences,
        num_rows=counts.pop(),
        sites={site: file for part in parts for site, file in part.sites.items()},
        rows=tables[0],
        provenance=provenance,
    )
    check_sizes(store, [*record.sites.values(), record.rows])
    return create_record(store, paths.shard_commit(plan.artifact, plan.index), record)
