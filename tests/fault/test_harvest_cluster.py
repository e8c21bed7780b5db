"""What befalls actors of a real Ray cluster: drains, poison that kills, coordinators that meet, nodes that go."""

import os
import signal
import time
from pathlib import Path

import pytest

from fixtures.simulated_cluster import ACTOR_MARK, SimulatedCluster
from fixtures.simulated_engine import simulated_corpus, simulated_model
from fixtures.simulation import Simulation
from thresher.contracts import paths
from thresher.contracts.manifests import HarvestManifest
from thresher.harvest.inputs import resolve_inputs
from thresher.harvest.run_record import RunRecord
from thresher.harvest.spec import HarvestSpec
from thresher.release.verify import verify
from thresher.storage import open_store
from thresher.storage.artifacts import find_record, read_record

pytestmark = [pytest.mark.real, pytest.mark.fault]

LENGTH, WIDTH, PER_SHARD, NUM_SHARDS = 16, 16, 4, 16
SLOW = Simulation(width=WIDTH, sequences_per_step=1, step_s=0.05)
LONGEST_S = 90


@pytest.fixture
def spec(tmp_path: Path) -> HarvestSpec:
    root = (tmp_path / "root").as_uri()
    model = simulated_model(tmp_path / "model", WIDTH)
    corpus = simulated_corpus(root, model, tmp_path / "text", NUM_SHARDS * PER_SHARD, LENGTH)
    return HarvestSpec.parse(
        {
            "root": root,
            "corpus": corpus.corpus_id,
            "model": str(model),
            "sites": ["resid_post.1"],
            "splits": ["fit"],
            "sequences_per_shard": PER_SHARD,
            "actors": {"count": 1, "num_cpus": 0.25, "drain_s": 10},
        }
    )


def artifact(spec: HarvestSpec) -> str:
    return paths.harvest(resolve_inputs(spec).harvest_id)


def records(spec: HarvestSpec) -> list[RunRecord]:
    store = open_store(spec.root)
    return [
        read_record(store, info.key, RunRecord) for info in store.list(paths.harvest_runs(artifact(spec)))
    ]


def wait_for_commits(spec: HarvestSpec, count: int) -> None:
    store, prefix = open_store(spec.root), f"{artifact(spec)}/commits/"
    deadline_s = time.monotonic() + LONGEST_S
    while len(list(store.list(prefix))) < count:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def assert_whole(spec: HarvestSpec) -> None:
    manifest = find_record(open_store(spec.root), paths.manifest(artifact(spec)), HarvestManifest)
    assert manifest is not None
    assert manifest.num_rows == NUM_SHARDS * PER_SHARD * LENGTH
    assert verify(open_store(spec.root), artifact(spec)) == []


def test_an_actor_told_to_go_finishes_what_it_has_and_another_takes_over(
    simulated_cluster: SimulatedCluster, spec: HarvestSpec, tmp_path: Path
) -> None:
    driver = simulated_cluster.start_harvest(spec, SLOW, tmp_path / "log", {})
    wait_for_commits(spec, 3)
    [pid] = simulated_cluster.processes(ACTOR_MARK)
    os.kill(pid, signal.SIGTERM)
    driver.join(LONGEST_S)
    assert driver.exitcode == 0, (tmp_path / "log").read_text()
    assert_whole(spec)
    [record] = records(spec)
    assert "told to go" in (tmp_path / "log").read_text()
    assert (record.num_actors, record.failures) == (2, 0), "nobody is blamed"
    assert [actor.num_shards >= 3 for actor in record.actors] == [True, True]
    assert sum(actor.num_shards for actor in record.actors) == NUM_SHARDS, "nothing is doubled"


def test_a_shard_that_kills_its_engine_is_set_aside_and_takes_no_neighbour_with_it(
    simulated_cluster: SimulatedCluster, spec: HarvestSpec, tmp_path: Path
) -> None:
    deadly = Simulation(width=WIDTH, deadly=frozenset({21}))
    actors = spec.actors.model_copy(update={"max_attempts": 2})
    driver = simulated_cluster.start_harvest(
        spec.model_copy(update={"actors": actors}), deadly, tmp_path / "log", {}
    )
    driver.join(LONGEST_S)
    assert driver.exitcode == 1
    [record] = records(spec)
    assert record.poison_shards == [5]
    # A neighbour may be committed by the dying actor before it answers: then its next actor finds it.
    assert record.num_shards + record.num_found_shards == NUM_SHARDS - 1
    assert "shard 5 (sequences 20 to 23) failed 2 times" in (tmp_path / "log").read_text()


def test_two_coordinators_of_one_spec_share_the_work_and_end_alike(
    simulated_cluster: SimulatedCluster, spec: HarvestSpec, tmp_path: Path
) -> None:
    drivers = [simulated_cluster.start_harvest(spec, SLOW, tmp_path / f"log{i}", {}) for i in range(2)]
    for index, driver in enumerate(drivers):
        driver.join(LONGEST_S)
        assert driver.exitcode == 0, (tmp_path / f"log{index}").read_text()
    assert_whole(spec)
    made = [record.num_shards for record in records(spec)]
    assert sum(made) < 2 * NUM_SHARDS, "neither made everything"


def test_several_harvests_share_a_cluster(
    simulated_cluster: SimulatedCluster, spec: HarvestSpec, tmp_path: Path
) -> None:
    """Each asks for more actors than there is room for beside the other's: they wait, and join as room is left."""
    actors = spec.actors.model_copy(update={"count": 2, "num_cpus": 0.75})
    specs = [
        spec.model_copy(update={"actors": actors, "sites": [site]}) for site in ("resid_post.1", "mlp_out.2")
    ]
    drivers = [
        simulated_cluster.start_harvest(item, SLOW, tmp_path / f"log{index}", {})
        for index, item in enumerate(specs)
    ]
    for index, driver in enumerate(drivers):
        driver.join(LONGEST_S)
        assert driver.exitcode == 0, (tmp_path / f"log{index}").read_text()
        assert_whole(specs[index])


@pytest.mark.skipif("THRESHER_FAULT_SEEDS" not in os.environ, reason="takes a minute: make faults")
def test_a_node_that_appears_is_used_and_one_that_is_lost_blames_nobody(
    simulated_cluster: SimulatedCluster, spec: HarvestSpec, tmp_path: Path
) -> None:
    actors = spec.actors.model_copy(update={"count": 2, "num_cpus": 1.5, "max_attempts": 1})
    spec = spec.model_copy(update={"actors": actors})
    slow = Simulation(width=WIDTH, sequences_per_step=1, step_s=0.5)
    driver = simulated_cluster.start_harvest(spec, slow, tmp_path / "log", {})
    wait_for_commits(spec, 1)
    assert len(simulated_cluster.processes(ACTOR_MARK)) == 1, "the head has room for one"
    with simulated_cluster.second_node(tmp_path / "node.log") as node:
        deadline_s = time.monotonic() + LONGEST_S
        while not simulated_cluster.processes(ACTOR_MARK, node):
            assert time.monotonic() < deadline_s, (tmp_path / "node.log").read_text()
            time.sleep(0.1)
        time.sleep(8)  # it loads for some two seconds, and a shard takes it two
        node.stop(grace_s=0)
    driver.join(LONGEST_S)
    log = (tmp_path / "log").read_text()
    assert driver.exitcode == 0, log
    assert_whole(spec)
    [record] = records(spec)
    assert "its node was lost" in log
    assert record.poison_shards == []
    assert sum(actor.num_shards > 0 for actor in record.actors) >= 2, "the second node was used"
