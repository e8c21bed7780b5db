"""Simulated harvests on a real Ray and a real S3 server, hit at random: they make what an undisturbed one makes.

Each run picks by its seed what is hit and when. THRESHER_FAULT_SEEDS says how many runs (`make faults`: 60).
"""

import io
import os
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fixtures.faulty_proxy import FaultyProxy, faulty_proxy
from fixtures.simulated_cluster import ACTOR_MARK, SeaweedFSToKill, SimulatedCluster
from fixtures.simulated_engine import simulated_corpus, simulated_model, thread_start_actor
from fixtures.simulation import Simulation
from thresher.contracts import paths
from thresher.contracts.manifests import HarvestManifest
from thresher.harvest.coordinator import harvest
from thresher.harvest.spec import HarvestSpec
from thresher.runtime.local.seaweedfs import BUCKET
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import read_record

pytestmark = [pytest.mark.real, pytest.mark.fault]

NUM_SEEDS = int(os.environ.get("THRESHER_FAULT_SEEDS", "8"))
KINDS = ("driver", "actor", "engine", "store", "500", "503", "slow", "truncated")
LENGTH, WIDTH, PER_SHARD, NUM_SHARDS = 16, 32, 4, 12
SIMULATION = Simulation(width=WIDTH, sequences_per_step=1, step_s=0.06)
LONGEST_S = 90
MAX_RUNS = 3
outcomes: Counter[str] = Counter()


@dataclass(frozen=True)
class Undisturbed:
    """What every run must come to."""

    spec: HarvestSpec
    """In a folder; runs take it over to their own root."""
    harvest_id: str
    content: dict[str, bytes]

    def at(self, root: str) -> HarvestSpec:
        """The spec with a root that holds the corpus and nothing else."""
        source, target = open_store(self.spec.root), open_store(root)
        for info in source.list("corpora/"):
            target.put(info.key, source.get(info.key))
        return self.spec.model_copy(update={"root": root})


def content(store: ObjectStore, harvest_id: str) -> dict[str, bytes]:
    """Every object of the harvest but for the spec, which holds the root, and the figures of its runs."""
    artifact = paths.harvest(harvest_id)
    skipped = (paths.spec(artifact), paths.harvest_runs(artifact))
    return {
        info.key: store.get(info.key)
        for info in store.list(f"{artifact}/")
        if not info.key.startswith(skipped)
    }


def assert_each_row_once(store: ObjectStore, harvest_id: str) -> None:
    manifest = read_record(store, paths.manifest(paths.harvest(harvest_id)), HarvestManifest)
    rows = [pq.read_table(io.BytesIO(store.get(shard.rows.key))) for shard in manifest.shards]
    addresses = [
        address
        for table in rows
        for address in zip(table["sequence"].to_pylist(), table["position"].to_pylist(), strict=True)
    ]
    expected = [(sequence, p) for sequence in range(NUM_SHARDS * PER_SHARD) for p in range(LENGTH)]
    assert sorted(addresses) == expected


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    root = (folder / "root").as_uri()
    model = simulated_model(folder / "model", WIDTH)
    corpus = simulated_corpus(root, model, folder / "text", NUM_SHARDS * PER_SHARD, LENGTH)
    spec = HarvestSpec.parse(
        {
            "root": root,
            "corpus": corpus.corpus_id,
            "model": str(model),
            "sites": ["resid_post.1", "mlp_out.2"],
            "splits": ["fit"],
            "sequences_per_shard": PER_SHARD,
            "actors": {"count": 2, "num_cpus": 0.25, "drain_s": 10},
        }
    )
    manifest = harvest(spec, thread_start_actor(Simulation(width=WIDTH)))
    return Undisturbed(spec, manifest.harvest_id, content(open_store(root), manifest.harvest_id))


@pytest.fixture
def store_environment(seaweedfs_to_kill: SeaweedFSToKill, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in seaweedfs_to_kill.environment.items():
        monkeypatch.setenv(name, value)
    return seaweedfs_to_kill.environment


@pytest.fixture
def proxy(seaweedfs_to_kill: SeaweedFSToKill) -> Iterator[FaultyProxy]:
    with faulty_proxy(seaweedfs_to_kill.server.settings.s3_port) as running:
        yield running


@dataclass
class Scene:
    """One harvest that is going to be hit."""

    cluster: SimulatedCluster
    spec: HarvestSpec
    harvest_id: str
    log: Path
    environment: dict[str, str]

    @property
    def store(self) -> ObjectStore:
        return open_store(self.spec.root)

    def start(self) -> BaseProcess:
        return self.cluster.start_harvest(self.spec, SIMULATION, self.log, self.environment)

    def num_commits(self) -> int:
        return sum(1 for _ in self.store.list(f"{paths.harvest(self.harvest_id)}/commits/"))

    def wait_for_commits(self, count: int, driver: BaseProcess) -> None:
        deadline_s = time.monotonic() + LONGEST_S
        while self.num_commits() < count:
            assert driver.is_alive(), f"it ended too soon:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < deadline_s, self.log.read_text()[-3000:]
            time.sleep(0.1)

    def is_whole(self) -> bool:
        return self.store.head(paths.manifest(paths.harvest(self.harvest_id))) is not None

    def finish(self, driver: BaseProcess) -> None:
        """Let it end; where it failed, run the same spec again, as a user would."""
        for _ in range(MAX_RUNS):
            driver.join(LONGEST_S)
            assert driver.exitcode is not None, f"it hangs:\n{self.log.read_text()[-3000:]}"
            if driver.exitcode == 0:
                return
            driver = self.start()
        raise AssertionError(f"it failed {MAX_RUNS} times:\n{self.log.read_text()[-3000:]}")


@pytest.fixture
def scene(
    simulated_cluster: SimulatedCluster,
    undisturbed: Undisturbed,
    store_environment: dict[str, str],
    tmp_path: Path,
) -> Scene:
    root = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    return Scene(
        simulated_cluster,
        undisturbed.at(root),
        undisturbed.harvest_id,
        tmp_path / "driver.log",
        dict(store_environment),
    )


def kill_one(victims: list[int], chance: random.Random) -> bool:
    if not victims:
        return False
    os.kill(chance.choice(victims), signal.SIGKILL)
    return True


def hit(
    kind: str,
    scene: Scene,
    driver: BaseProcess,
    chance: random.Random,
    store: SeaweedFSToKill,
    proxy: FaultyProxy,
) -> bool:
    """Do the harm; returns whether there was something to harm."""
    if kind == "driver":
        driver.kill()
        driver.join()
        return not scene.is_whole()
    if kind == "actor":
        return kill_one(scene.cluster.processes(ACTOR_MARK), chance)
    if kind == "engine":
        return kill_one(scene.cluster.engines(), chance)
    if kind == "store":
        store.kill()
        time.sleep(chance.uniform(0, 1))
        store.restart()
        return not scene.is_whole()
    proxy.begin(kind, chance.randint(2, 6))  # type: ignore[arg-type]
    return True


@pytest.mark.parametrize("seed", range(NUM_SEEDS))
def test_hit_at_random_it_comes_to_what_an_undisturbed_run_makes(
    seed: int,
    scene: Scene,
    undisturbed: Undisturbed,
    seaweedfs_to_kill: SeaweedFSToKill,
    proxy: FaultyProxy,
) -> None:
    kind, chance = KINDS[seed % len(KINDS)], random.Random(seed)
    if kind in ("500", "503", "slow", "truncated"):
        scene.environment["AWS_ENDPOINT_URL"] = proxy.endpoint
    driver = scene.start()
    scene.wait_for_commits(chance.randrange(0 if kind == "driver" else 1, NUM_SHARDS - 6), driver)
    time.sleep(chance.uniform(0, 0.2))
    has_hit = hit(kind, scene, driver, chance, seaweedfs_to_kill, proxy)
    scene.finish(driver)
    if kind in ("500", "503", "slow", "truncated"):
        has_hit = proxy.num_faults > 0
    outcomes[f"{kind} {'hit' if has_hit else 'missed'}"] += 1
    assert content(scene.store, undisturbed.harvest_id) == undisturbed.content
    assert_each_row_once(scene.store, undisturbed.harvest_id)


def test_most_faults_hit(capsys: pytest.CaptureFixture[str]) -> None:
    """A kill that came too late proves nothing."""
    with capsys.disabled():
        print("\n" + ", ".join(f"{name}: {count}" for name, count in sorted(outcomes.items())))
    num_hit = sum(count for name, count in outcomes.items() if name.endswith(" hit"))
    assert num_hit >= 0.8 * sum(outcomes.values())
