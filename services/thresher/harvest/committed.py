"""What is there of a harvest: commit records whose objects are there at their sizes."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import ShardCommit
from thresher.harvest.plan import ShardPlan
from thresher.storage import ObjectStore
from thresher.storage.artifacts import read_record

logger = logging.getLogger(__name__)
READERS = 16


def object_sizes(store: ObjectStore, artifact: str) -> dict[str, int]:
    """Bytes by key of every object of an artifact, by listing: a thousandth of the requests that asking each takes."""
    return {info.key: info.size for info in store.list(f"{artifact}/")}


def size_fault(commit: ShardCommit, sizes: Mapping[str, int]) -> str | None:
    """What is wrong with the objects that a commit record names, or None."""
    for entry in [*commit.sites.values(), commit.rows]:
        size = sizes.get(entry.key)
        if size != entry.size:
            found = "is missing" if size is None else f"has {size} bytes"
            return f"{entry.key} {found}; its commit record says {entry.size} bytes"
    return None


def find_committed(store: ObjectStore, plans: Sequence[ShardPlan], *, mend: bool) -> dict[int, ShardCommit]:
    """The shards that are done. One whose record or objects somebody damaged is not.

    Args:
        store: where they are.
        plans: the shards to look for.
        mend: remove the record of a damaged shard, so that it can be made anew. Safe as long as no manifest names it.
    """
    sizes = object_sizes(store, plans[0].artifact)
    recorded = [plan for plan in plans if paths.shard_commit(plan.artifact, plan.index) in sizes]
    with ThreadPoolExecutor(READERS) as readers:
        found = readers.map(lambda plan: _whole_commit(store, plan, sizes, mend), recorded)
        return {commit.index: commit for commit in found if commit is not None}


def _whole_commit(
    store: ObjectStore, plan: ShardPlan, sizes: Mapping[str, int], mend: bool
) -> ShardCommit | None:
    key = paths.shard_commit(plan.artifact, plan.index)
    try:
        commit = read_record(store, key, ShardCommit)
        fault = size_fault(commit, sizes)
    except IntegrityError as error:
        fault = str(error)
    if fault is None:
        return commit
    logger.warning("Shard %d was committed and then damaged: %s. A run makes it anew.", plan.index, fault)
    if mend:
        store.delete(key)
    return None
