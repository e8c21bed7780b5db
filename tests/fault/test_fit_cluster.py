"""What befalls a fit on a real Ray cluster of two nodes: one of them goes, and the fit goes on with what is left."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fixtures.planted_fits import FEATURES_FD, planted_fit
from fixtures.simulated_cluster import SimulatedCluster
from thresher.contracts import paths
from thresher.dictionary.training.checkpoint import CheckpointRecord
from thresher.latents.weights import load_encoder
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import find_record

pytestmark = [pytest.mark.real, pytest.mark.fault]

LONGEST_S = 150
WORKER_MARK = b"RayTrainWorker"
NUM_STEPS = 6000
DRIVER = """
import sys
from thresher.dictionary.fit import fit
from thresher.dictionary.spec import FitSpec
from thresher.runtime.ray_cluster import disconnect
fit(FitSpec.model_validate_json(sys.argv[1]))
disconnect()
"""


def wait_until(holds: Callable[[], bool], driver: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline_s = time.monotonic() + LONGEST_S
    while not holds():
        assert driver.poll() is None, log.read_text()
        assert time.monotonic() < deadline_s, log.read_text()
        time.sleep(0.1)


def last_step(store: ObjectStore) -> int:
    key = f"{paths.dictionary('planted', '1')}/training/checkpoint.json"
    record = find_record(store, key, CheckpointRecord)
    return 0 if record is None else record.step


@pytest.mark.skipif("THRESHER_FAULT_SEEDS" not in os.environ, reason="takes two minutes: make faults")
def test_a_fit_that_loses_a_node_goes_on_with_fewer_workers(
    simulated_cluster: SimulatedCluster, tmp_path: Path
) -> None:
    store, log = open_store(f"file://{tmp_path}/store"), tmp_path / "log"
    spec = planted_fit(store, num_steps=NUM_STEPS, learning_rate=3e-3)
    changes = {"num_workers": 2, "min_workers": 1, "cpus_per_worker": 2, "checkpoint_every_steps": 100}
    spec = spec.model_copy(update=changes)
    environment = {**os.environ, **simulated_cluster.environment}
    with simulated_cluster.second_node(tmp_path / "node.log") as node, log.open("wb") as output:
        wait_until_two_nodes(simulated_cluster, environment)
        command = [sys.executable, "-c", DRIVER, spec.model_dump_json()]
        driver = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            wait_until(lambda: last_step(store) >= 200, driver, log)
            assert len(simulated_cluster.processes(WORKER_MARK)) == 1
            assert len(simulated_cluster.processes(WORKER_MARK, node)) == 1, "both nodes train"
            node.stop(grace_s=0)
            lost_at = last_step(store)
            assert lost_at < NUM_STEPS, "it was still at work"
            assert driver.wait(LONGEST_S) == 0, log.read_text()
        finally:
            driver.kill()
            driver.wait()
    encoder, manifest = load_encoder(store, "planted@1")
    assert manifest.num_training_rows == NUM_STEPS * spec.training.batch_rows
    similarity = (encoder.W_dec_FE @ torch.from_numpy(FEATURES_FD).T).max(dim=0).values
    assert similarity.mean() > 0.95
    steps = [line["step"] for line in records(store)]
    assert steps == list(range(20, NUM_STEPS + 1, 20)), "every step is recorded once"


def records(store: ObjectStore) -> list[dict[str, int]]:
    data = store.get(f"{paths.dictionary('planted', '1')}/training/metrics.jsonl")
    return [json.loads(line) for line in data.splitlines()]


def wait_until_two_nodes(cluster: SimulatedCluster, environment: dict[str, str]) -> None:
    code = "import ray; ray.init(log_to_driver=False); print(len([n for n in ray.nodes() if n['Alive']]))"
    deadline_s = time.monotonic() + LONGEST_S
    while True:
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        if done.stdout.strip().endswith("2"):
            return
        assert time.monotonic() < deadline_s, done.stderr
        time.sleep(0.5)
