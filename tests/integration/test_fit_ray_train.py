"""Ray Train itself: two workers, a driver that is killed, the run that follows."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.planted_fits import FEATURES_FD, planted_fit
from thresher.contracts import paths
from thresher.dictionary.fit import fit
from thresher.dictionary.job import FitJob
from thresher.dictionary.prepare import fit_id_of
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.training.checkpoint import CheckpointRecord
from thresher.dictionary.training.train_loop import train_and_publish
from thresher.latents.weights import load_encoder
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import find_record

pytestmark = pytest.mark.real

TIMEOUT_S = 180
DRIVER = "import sys; from thresher.dictionary.fit import fit; from thresher.dictionary.spec import FitSpec; "
DRIVER += "fit(FitSpec.model_validate_json(sys.argv[1]))"


def two_worker_spec(store: ObjectStore) -> FitSpec:
    spec = planted_fit(store, num_steps=600)
    return spec.model_copy(update={"num_workers": 2, "cpus_per_worker": 1, "checkpoint_every_steps": 50})


def kill_driver_after_checkpoint(store: ObjectStore, spec: FitSpec) -> int:
    """Start a fit in a process of its own, SIGKILL it after a checkpoint, and return that checkpoint's step."""
    key = f"{paths.dictionary(spec.name, '1')}/training/checkpoint.json"
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, spec.model_dump_json()], start_new_session=True)
    deadline_s = time.monotonic() + TIMEOUT_S
    try:
        while (record := find_record(store, key, CheckpointRecord)) is None:
            assert driver.poll() is None, "the driver ended before its first checkpoint"
            assert time.monotonic() < deadline_s, "no checkpoint in time"
            time.sleep(0.05)
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    return record.step


def test_two_workers_resume_after_the_driver_is_killed(tmp_path: Path, local_ray: None) -> None:
    interrupted, single = open_store(f"file://{tmp_path}/a"), open_store(f"file://{tmp_path}/b")
    spec = two_worker_spec(interrupted)
    assert 0 < kill_driver_after_checkpoint(interrupted, spec) < spec.training.num_steps
    assert interrupted.head(paths.manifest(paths.dictionary("planted", "1"))) is None

    manifest = fit(spec)
    assert manifest.version == "1"
    undisturbed = open_store(f"file://{tmp_path}/c")
    fit(two_worker_spec(undisturbed))
    for name in ("sae_weights.safetensors", "training/metrics.jsonl", "manifest.json"):
        key = f"{paths.dictionary('planted', '1')}/{name}"
        assert interrupted.get(key) == undisturbed.get(key), name
    encoder, _ = load_encoder(interrupted, "planted@1")
    similarity = (encoder.W_dec_FE @ torch.from_numpy(FEATURES_FD).T).max(dim=0).values
    assert similarity.mean() > 0.95

    torch.set_num_threads(1)
    planted_fit(single)
    alone = spec.model_copy(update={"root": single.url, "num_workers": 1})
    assert fit_id_of(alone) == manifest.fit_id
    train_and_publish(FitJob(alone, "1", manifest.fit_id))
    _, expected = load_encoder(single, "planted@1")
    assert manifest.metrics.explained_variance == pytest.approx(expected.metrics.explained_variance, abs=0.02)
    assert np.isclose(manifest.metrics.l0, expected.metrics.l0, rtol=0.05)
