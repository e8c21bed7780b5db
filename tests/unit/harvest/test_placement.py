"""What is asked of Ray for an engine of several ranks, by contract: no such engine runs in these tests."""

from types import SimpleNamespace

import pytest

from thresher.harvest import placement
from thresher.harvest.placement import packing, place_actor
from thresher.harvest.spec import HarvestSpec


def spec(tensor_parallel=1, pipeline_parallel=1, **actors):
    return HarvestSpec.parse(
        {
            "root": "file:///r",
            "corpus": "c",
            "model": "m",
            "sites": ["resid_post.0"],
            "engine": {"tensor_parallel": tensor_parallel, "pipeline_parallel": pipeline_parallel},
            "actors": actors,
        }
    )


def node(alive=True, **resources):
    return {"Alive": alive, "Resources": resources}


@pytest.fixture
def asked(monkeypatch):
    """What placement_group was called with."""
    calls = []

    def ask(bundles, strategy):
        calls.append((bundles, strategy))
        return SimpleNamespace()

    monkeypatch.setattr(placement, "placement_group", ask)
    monkeypatch.setattr(placement.ray, "nodes", lambda: [node(CPU=64, GPU=8)])
    return calls


def test_one_rank_asks_for_its_resources_alone(asked):
    placed = place_actor(spec(num_cpus=4, num_gpus=1))
    assert placed.options == {"num_cpus": 4, "num_gpus": 1}
    assert placed.group is None
    assert not asked


def test_several_ranks_ask_for_a_bundle_each_and_the_actor_for_nothing_itself(asked):
    placed = place_actor(spec(tensor_parallel=2, pipeline_parallel=2, num_cpus=4, num_gpus=1))
    assert asked == [([{"CPU": 4, "GPU": 1}] * 4, "STRICT_PACK")]
    strategy = placed.options["scheduling_strategy"]
    assert (placed.options["num_cpus"], placed.options["num_gpus"]) == (0, 0)
    assert strategy.placement_group is placed.group
    assert strategy.placement_group_bundle_index == 0
    assert strategy.placement_group_capture_child_tasks


@pytest.mark.parametrize(
    ("nodes", "strategy"),
    [
        ([node(CPU=8, GPU=4)], "STRICT_PACK"),
        ([node(CPU=8, GPU=2), node(CPU=8, GPU=2)], "PACK"),
        ([node(alive=False, CPU=8, GPU=4), node(CPU=8, GPU=2)], "PACK"),
        ([node(CPU=4, GPU=4)], "PACK"),
    ],
    ids=["one node has room", "two nodes together", "the large node is gone", "too few CPUs"],
)
def test_ranks_share_a_node_where_one_is_large_enough(nodes, strategy):
    assert packing(spec(tensor_parallel=4, num_cpus=2, num_gpus=1), nodes) == strategy


def test_the_room_is_given_back(asked, monkeypatch):
    removed = []
    monkeypatch.setattr(placement, "remove_placement_group", removed.append)
    placed = place_actor(spec(tensor_parallel=2, num_gpus=1))
    placed.release()
    assert removed == [placed.group]
