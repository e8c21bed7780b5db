"""Runs shards on a pool of actors: one shard an actor at a time, retried when an actor or a shard fails."""

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from thresher.contracts.errors import SpecError, StoreError, ThresherError
from thresher.contracts.manifests import ShardCommit
from thresher.harvest.actor import start_actor
from thresher.harvest.plan import ShardPlan
from thresher.harvest.spec import HarvestSpec
from thresher.runtime.ray_cluster import connect

logger = logging.getLogger(__name__)


class HarvestError(ThresherError):
    """A shard failed more often than allowed."""


@dataclass
class _Running:
    actor: Any
    plan: ShardPlan


@dataclass
class _Pool:
    spec: HarvestSpec
    sequence_length: int
    waiting: deque[ShardPlan]
    failures: dict[int, int] = field(default_factory=dict)
    running: dict[Any, _Running] = field(default_factory=dict)

    def start(self, actor: Any | None = None) -> None:
        """Give the next shard to an actor, a new one if none is given."""
        if self.waiting:
            actor = actor or start_actor(self.spec, self.sequence_length)
            plan = self.waiting.popleft()
            self.running[actor.harvest.remote(plan.model_dump_json())] = _Running(actor, plan)

    def fail(self, plan: ShardPlan, error: Exception) -> None:
        """Put a shard back, unless it failed too often: then no other try would help."""
        count = self.failures[plan.index] = self.failures.get(plan.index, 0) + 1
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, SpecError | StoreError):
            raise cause
        if count >= self.spec.actors.max_attempts:
            stop = plan.first_sequence + plan.num_sequences - 1
            raise HarvestError(
                f"Shard {plan.index} (sequences {plan.first_sequence} to {stop}) failed {count} times, last: {cause}. "
                "Committed shards are kept: mend the cause and run the same spec again."
            ) from error
        logger.warning("Shard %d failed, try %d: %s. A new actor takes it.", plan.index, count, cause)
        self.waiting.append(plan)


def run_shards(spec: HarvestSpec, sequence_length: int, plans: list[ShardPlan]) -> Iterator[ShardCommit]:
    """Yield the commit record of each shard as it is done. Connects to Ray if this process is not.

    An actor whose shard failed is ended, since its engine may hold half a batch, and a new one takes over.

    Raises:
        HarvestError: a shard failed `actors.max_attempts` times.
        SpecError, StoreError: what another try would meet again.
    """
    if plans:
        connect()
    pool = _Pool(spec, sequence_length, deque(plans))
    for _ in range(min(spec.actors.count, len(plans))):
        pool.start()
    try:
        while pool.running:
            ready, _ = ray.wait(list(pool.running), num_returns=1)
            done = pool.running.pop(ready[0])
            try:
                commit = ShardCommit.model_validate_json(ray.get(ready[0]))
            except (RayTaskError, RayActorError) as error:
                ray.kill(done.actor)
                pool.fail(done.plan, error)
                pool.start()
                continue
            if pool.waiting:
                pool.start(done.actor)
            else:
                ray.kill(done.actor)  # at once, since what comes next may need its CPUs
            yield commit
    finally:
        for item in pool.running.values():
            ray.kill(item.actor)
