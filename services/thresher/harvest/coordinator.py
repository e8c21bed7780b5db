"""Harvest: plan, find what is done, run the rest on actors, write the manifest from the commit records."""

import logging
import random

from thresher.contracts import paths
from thresher.contracts.errors import StoreError
from thresher.contracts.manifests import HarvestManifest, ShardCommit
from thresher.harvest.actor import CallResult, StartActor, start_actor
from thresher.harvest.actor_pool import ActorPool
from thresher.harvest.committed import find_committed
from thresher.harvest.failures import harvest_error
from thresher.harvest.inputs import HarvestInputs, resolve_inputs
from thresher.harvest.manifest import build_manifest
from thresher.harvest.plan import ShardPlan, plan_shards
from thresher.harvest.run_record import RunTally, write_run_record
from thresher.harvest.spec import HarvestSpec
from thresher.runtime.progress import Meter, progress
from thresher.storage.artifacts import create_record, find_record, record_bytes

logger = logging.getLogger(__name__)


def harvest(spec: HarvestSpec, start_actor: StartActor = start_actor) -> HarvestManifest:
    """Make a harvest whole: run what is missing of it, and nothing if its manifest exists.

    Several coordinators may run the same spec at once: a shard that one commits is done for all.

    Args:
        spec: what to harvest.
        start_actor: asks for one actor; Ray is asked for one around a vLLM engine unless told otherwise.

    Raises:
        SpecError, MissingArtifactError, StoreError: before any engine starts.
        HarvestError: shards failed more often than allowed; all others stay committed.
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
    commits = find_committed(inputs.store, plans, mend=True)
    if len(commits) < len(plans):
        _make_missing(inputs, plans, commits, start_actor)
    return _publish(inputs, [commits[plan.index] for plan in plans])


def _make_missing(
    inputs: HarvestInputs, plans: list[ShardPlan], commits: dict[int, ShardCommit], start_actor: StartActor
) -> None:
    """Fill `commits`, whatever else happens: the figures of the run are kept."""
    missing = _in_any_order([plan for plan in plans if plan.index not in commits])
    pool = ActorPool(inputs.spec, inputs.corpus.sequence_length, missing, start_actor)
    tally, outcome = RunTally(num_found_shards=len(commits)), "complete"
    total = sum(plan.num_tokens for plan in plans)
    done = total - sum(plan.num_tokens for plan in missing)
    try:
        with progress("harvest", total, "tokens", done=done) as meter:
            for result in pool.run():
                _take(result, inputs, commits, meter)
                tally.add(result, inputs.corpus.sequence_length)
        if pool.poison:
            raise harvest_error(pool.poison, len(commits), len(plans))
    except BaseException as error:
        outcome = type(error).__name__
        if isinstance(error, KeyboardInterrupt):
            logger.warning(
                "Interrupted: %d of %d shards are committed. Run the same command to go on.",
                len(commits),
                len(plans),
            )
        raise
    finally:
        write_run_record(inputs.store, paths.harvest(inputs.harvest_id), tally.record(pool, outcome))


def _in_any_order(plans: list[ShardPlan]) -> list[ShardPlan]:
    """An order of its own for every coordinator of a spec, so that they seldom make the same shard.

    One order from different places on would not do: two that begin near each other then run in step to the end.
    """
    return random.sample(plans, len(plans))


def _take(result: CallResult, inputs: HarvestInputs, commits: dict[int, ShardCommit], meter: Meter) -> None:
    for commit in result.commits:
        if commit.index in result.found:
            logger.warning("Shard %d was committed by another coordinator: taken as done.", commit.index)
        commits[commit.index] = commit
        meter.advance(commit.num_sequences * inputs.corpus.sequence_length)


def _publish(inputs: HarvestInputs, commits: list[ShardCommit]) -> HarvestManifest:
    """Make the harvest whole, or find that another coordinator has: what is stored holds."""
    manifest = build_manifest(inputs, commits)
    key = paths.manifest(paths.harvest(inputs.harvest_id))
    stored = create_record(inputs.store, key, manifest)
    if stored != manifest:
        logger.warning("Another coordinator has finished harvest %s: its manifest holds.", inputs.harvest_id)
    return stored
