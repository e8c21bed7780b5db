"""What is asked of Ray for one actor: its resources, and a placement group where an engine has several ranks."""

from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from thresher.harvest.spec import HarvestSpec


@dataclass(frozen=True)
class Placement:
    """Options of the actor, and the group to give back when it ends."""

    options: dict[str, Any]
    group: PlacementGroup | None = field(default=None)

    def release(self) -> None:
        if self.group is not None:
            remove_placement_group(self.group)


def rank_resources(spec: HarvestSpec) -> dict[str, float]:
    """What Ray reserves for one rank."""
    resources = {"CPU": spec.actors.num_cpus}
    return resources | {"GPU": spec.actors.num_gpus} if spec.actors.num_gpus else resources


def place_actor(spec: HarvestSpec) -> Placement:
    """Reserve room for one engine. Returns at once; Ray finds the room when there is some.

    An engine of several ranks gets a placement group with a bundle a rank, on one node where one is large enough.
    The actor itself asks for nothing in it: vLLM's Ray executor starts a worker in each bundle of the group that
    its process belongs to, and those take the devices.
    """
    if spec.engine.num_ranks == 1:
        return Placement({"num_cpus": spec.actors.num_cpus, "num_gpus": spec.actors.num_gpus})
    bundles = [rank_resources(spec)] * spec.engine.num_ranks
    group = placement_group(bundles, strategy=packing(spec, ray.nodes()))
    strategy = PlacementGroupSchedulingStrategy(
        placement_group=group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
    )
    return Placement({"num_cpus": 0, "num_gpus": 0, "scheduling_strategy": strategy}, group)


def packing(spec: HarvestSpec, nodes: list[dict[str, Any]]) -> str:
    """STRICT_PACK if a living node is large enough for all ranks, else PACK.

    Args:
        spec: what is placed.
        nodes: as ray.nodes() gives them.
    """
    needed = {name: amount * spec.engine.num_ranks for name, amount in rank_resources(spec).items()}
    for node in nodes:
        if node["Alive"] and all(node["Resources"].get(name, 0) >= amount for name, amount in needed.items()):
            return "STRICT_PACK"
    return "PACK"
