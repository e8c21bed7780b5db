"""Shards a second of the coordinator and the pool with 1, 16 and 64 actors, against linear.

    PYTHONPATH=tests python tests/bench/bench_cluster.py [--actors 1 16 64] [--shards-each 8] [--step-s 4.0]

Ray, coordinator, pool, shard writer and store (a folder) are real. Engines sleep instead of computing, since this is
to measure what one coordinator carries, on a machine that has not the cores for 64 models: shards are small and sleeps
long, so that 64 writers take less than its cores. A process of Ray holds several engines (--engines-each), since 64
processes that import torch would need some 15 GB; the pool sees each engine as an actor. The rate is of a run whose
actors stand already: their start, one process after another on few cores, is shown apart.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import ray

import thresher
from fixtures.simulated_engine import SimulatedEngine, simulated_corpus, simulated_model
from fixtures.simulation import Simulation
from thresher.contracts import paths
from thresher.harvest.actor import CallResult
from thresher.harvest.coordinator import harvest
from thresher.harvest.plan import ShardPlan
from thresher.harvest.run_record import RunRecord
from thresher.harvest.scheduler import CALLS_IN_FLIGHT
from thresher.harvest.spec import HarvestSpec
from thresher.runtime.ray_cluster import connect, disconnect
from thresher.storage import open_store
from thresher.storage.artifacts import read_record

LENGTH, WIDTH, PER_SHARD = 32, 64, 4
SITES = ["resid_post.1", "mlp_out.2"]


class Host:
    """A process of Ray that holds some engines."""

    def __init__(self, simulation: Simulation, spec_json: str, num_engines: int) -> None:
        spec = HarvestSpec.model_validate_json(spec_json)
        self._engines = [SimulatedEngine(simulation, spec, LENGTH) for _ in range(num_engines)]

    def stand(self) -> None:
        """Return when the engines stand."""

    def harvest(self, slot: int, plans_json: list[str]) -> str:
        engine = self._engines[slot]
        commits = engine.harvest([ShardPlan.model_validate_json(text) for text in plans_json])
        return CallResult(commits=commits, found=[], engine_wait_s=engine.wait_s).model_dump_json()


class Slot:
    """One engine of a host, as the pool sees an actor."""

    def __init__(self, host: Any, slot: int) -> None:
        self._host, self._slot = host, slot

    def start(self) -> Future[None]:
        future: Future[None] = self._host.stand.remote().future()
        return future

    def told_to_go(self) -> Future[None]:
        return Future()

    def harvest(self, plans: list[ShardPlan]) -> Future[CallResult]:
        answer: Future[CallResult] = Future()
        reference = self._host.harvest.remote(self._slot, [plan.model_dump_json() for plan in plans])
        reference.future().add_done_callback(
            lambda done: answer.set_result(CallResult.model_validate_json(done.result()))
        )
        return answer

    def end(self) -> None:
        pass


def _spec(folder: Path, num_actors: int, num_shards: int) -> HarvestSpec:
    root = (folder / "root").as_uri()
    model = simulated_model(folder / "model", WIDTH)
    corpus = simulated_corpus(root, model, folder / "text", num_shards * PER_SHARD, LENGTH)
    return HarvestSpec.parse(
        {
            "root": root,
            "corpus": corpus.corpus_id,
            "model": str(model),
            "sites": SITES,
            "splits": ["fit"],
            "sequences_per_shard": PER_SHARD,
            "actors": {"count": num_actors, "num_cpus": 0.01},
        }
    )


def _measure(folder: Path, num_actors: int, options: argparse.Namespace) -> dict[str, float]:
    """One harvest by actors that stand already."""
    spec = _spec(folder, num_actors, options.shards_each * num_actors)
    simulation = Simulation(width=WIDTH, sequences_per_step=PER_SHARD, step_s=options.step_s)
    each = min(options.engines_each, num_actors)
    start_s = time.perf_counter()
    remote = ray.remote(num_cpus=0.01, max_concurrency=CALLS_IN_FLIGHT * each)(Host)
    hosts = [remote.remote(simulation, spec.model_dump_json(), each) for _ in range(num_actors // each)]
    ray.get([host.stand.remote() for host in hosts])
    free = [Slot(host, slot) for slot in range(each) for host in hosts]
    stood_s = time.perf_counter()
    manifest = harvest(spec, lambda _spec, _length: free.pop())
    done_s = time.perf_counter()
    for host in hosts:
        ray.kill(host)
    record = _run_record(spec, manifest.harvest_id)
    assert record.failures == 0, "an undisturbed run"
    return {
        "shards": record.num_shards,
        "start_s": stood_s - start_s,
        "run_s": record.elapsed_s,
        "plan_and_manifest_s": done_s - stood_s - record.elapsed_s,
        "shards_per_s": record.num_shards / record.elapsed_s,
        "coordinator_cpu_ms_per_shard": 1000 * record.coordinator_cpu_s / record.num_shards,
        "bytes_per_shard": record.bytes / record.num_shards,
    }


def _run_record(spec: HarvestSpec, harvest_id: str) -> RunRecord:
    store = open_store(spec.root)
    [info] = store.list(f"{paths.harvest_runs(paths.harvest(harvest_id))}/")
    return read_record(store, info.key, RunRecord)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 16, 64], help="the first is the base")
    parser.add_argument("--shards-each", type=int, default=8)
    parser.add_argument("--step-s", type=float, default=4.0, help="sleep a shard")
    parser.add_argument("--engines-each", type=int, default=16, help="engines in one process of Ray")
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    options = parser.parse_args()
    connect()
    with tempfile.TemporaryDirectory() as folder:
        found = {count: _measure(Path(folder) / str(count), count, options) for count in options.actors}
    disconnect()
    _report(found, options)


def _report(found: dict[int, dict[str, float]], options: argparse.Namespace) -> None:
    base = found[options.actors[0]]["shards_per_s"] / options.actors[0]
    print(f"{'actors':>7}{'shards':>8}{'shards/s':>10}{'of linear':>11}{'CPU ms/shard':>14}{'start s':>9}")
    for count, row in found.items():
        row["of_linear"] = row["shards_per_s"] / (base * count)
        print(
            f"{count:>7}{row['shards']:>8}{row['shards_per_s']:>10.2f}{row['of_linear']:>11.1%}"
            f"{row['coordinator_cpu_ms_per_shard']:>14.1f}{row['start_s']:>9.1f}"
        )
    record = {
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": {
            "python": platform.python_version(),
            "ray": ray.__version__,
            "thresher": thresher.__version__,
        },
        "sizes": {
            "sequence_length": LENGTH,
            "width": WIDTH,
            "sites": SITES,
            "sequences_per_shard": PER_SHARD,
            "shards_each": options.shards_each,
            "step_s": options.step_s,
            "engines_each": options.engines_each,
        },
        "seeds": {"corpus": 0, "rows": "sequence and site"},
        "by_actors": {str(count): row for count, row in found.items()},
    }
    options.out.mkdir(exist_ok=True)
    (options.out / "cluster.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
