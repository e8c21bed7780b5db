"""The Ray actor around an engine. Thin: everything it does is HarvestEngine's."""

from typing import Any

import ray

from thresher.harvest.engine import HarvestEngine
from thresher.harvest.plan import ShardPlan
from thresher.harvest.spec import ActorsSpec, HarvestSpec


class HarvestActor:
    """Holds one engine for its life; shards in, commit records out, both as JSON text."""

    def __init__(self, spec_json: str, sequence_length: int) -> None:
        self._engine = HarvestEngine(HarvestSpec.model_validate_json(spec_json), sequence_length)

    def harvest(self, plan_json: str) -> str:
        return self._engine.harvest(ShardPlan.model_validate_json(plan_json)).model_dump_json()


def start_actor(spec: HarvestSpec, sequence_length: int) -> Any:
    """Start an actor where Ray finds room for it. It loads its model before it takes work."""
    actors: ActorsSpec = spec.actors
    remote = ray.remote(num_cpus=actors.num_cpus, num_gpus=actors.num_gpus, max_restarts=0)(HarvestActor)
    return remote.remote(spec.model_dump_json(), sequence_length)
