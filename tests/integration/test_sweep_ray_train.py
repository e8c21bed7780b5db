"""A sweep on real Ray: packs beside each other, a worker that is killed, a driver that finds everything made."""

import os
import signal
import time
from pathlib import Path
from threading import Thread

import psutil
import pytest

from fixtures.planted_fits import planted_fit
from thresher.contracts import paths
from thresher.contracts.manifests import DictionaryManifest
from thresher.dictionary.sweep.run import sweep
from thresher.dictionary.sweep.spec import SweepSpec
from thresher.dictionary.training.checkpoint import CheckpointRecord
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import find_record

pytestmark = pytest.mark.real

TIMEOUT_S = 120
NAMES = ("sae_weights.safetensors", "training/metrics.jsonl", "manifest.json")


def grid(store: ObjectStore) -> SweepSpec:
    """Four dictionaries in two packs, of two seeds."""
    spec = planted_fit(store, num_steps=400)
    fit = spec.model_dump(mode="json") | {"cpus_per_worker": 1, "checkpoint_every_steps": 50}
    return SweepSpec.parse({"fit": fit, "grid": {"architecture.k": [1, 3], "training.seed": [0, 1]}})


def training_workers() -> list[psutil.Process]:
    """Ray Train's workers below this process; their command line says what they run."""
    children = psutil.Process().children(recursive=True)
    return [process for process in children if "RayTrainWorker" in " ".join(process.cmdline())]


def kill_a_worker_after_a_checkpoint(store: ObjectStore, killed: list[int]) -> None:
    key = f"{paths.dictionary('planted', '1')}/training/checkpoint.json"
    deadline_s = time.monotonic() + TIMEOUT_S
    while find_record(store, key, CheckpointRecord) is None and time.monotonic() < deadline_s:
        time.sleep(0.05)
    for process in training_workers()[:1]:
        os.kill(process.pid, signal.SIGKILL)
        killed.append(process.pid)


def test_a_sweep_that_loses_a_worker_ends_as_an_undisturbed_one(tmp_path: Path, local_ray: None) -> None:
    stores = [open_store((tmp_path / name).as_uri()) for name in "ab"]
    killed: list[int] = []
    made: list[list[DictionaryManifest]] = []
    for store in stores:
        spec = grid(store)
        killer = Thread(target=kill_a_worker_after_a_checkpoint, args=(store, killed))
        if store is stores[1]:
            killer.start()
        made.append(sweep(spec))
        if store is stores[1]:
            killer.join()
    assert len(killed) == 1
    assert [(item.k, item.spec["training"]["seed"]) for item in made[0]] == [(1, 0), (1, 1), (3, 0), (3, 1)]
    assert sorted(item.version for item in made[0]) == ["1", "2", "3", "4"]
    for item in made[0]:
        artifact = paths.dictionary(item.name, item.version)
        for name in NAMES:
            assert stores[0].get(f"{artifact}/{name}") == stores[1].get(f"{artifact}/{name}"), name
    assert sweep(grid(stores[0])) == made[0], "everything is found"
