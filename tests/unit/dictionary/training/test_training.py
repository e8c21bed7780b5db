"""Whole runs of the training loop, in this process, on a planted dictionary."""

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.planted_fits import FEATURES_FD, NUM_ACTIVE, SITE, WIDTH, planted_fit
from thresher.activations.dense_reader import DenseSite
from thresher.activations.row_pairs import RowPairs
from thresher.activations.split_rows import SplitRows
from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import HarvestManifest
from thresher.dictionary.job import FitJob
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.target.pair_layout import PairLayout
from thresher.dictionary.tracking.record_log import RecordLog
from thresher.dictionary.tracking.records import StepRecord
from thresher.dictionary.training import checkpoint as checkpoint_module
from thresher.dictionary.training.checkpoint import Checkpoints
from thresher.dictionary.training.initialise import geometric_median
from thresher.dictionary.training.run_progress import RunProgress, progress_key
from thresher.dictionary.training.train_loop import train_and_publish
from thresher.dictionary.training.trainer import Trainer, initial_state, learning_rate_at
from thresher.latents.weights import load_encoder
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import find_record, read_record

REFERENCE = "planted@1"
LAYOUT = PairLayout((WIDTH,), (WIDTH,))
TRAINING = f"{paths.dictionary('planted', '1')}/training"


def run(spec: FitSpec) -> None:
    train_and_publish(FitJob(spec, version="1", fit_id="fit"))


def rows_of(store: ObjectStore, split: str, min_position: int = 1) -> torch.Tensor:
    manifest = read_record(store, paths.manifest(paths.harvest("harvest")), HarvestManifest)
    rows = SplitRows(manifest, split, min_position)
    with DenseSite(store, manifest, SITE, Path(tempfile.gettempdir()) / "thresher-test-shards") as site:
        return site.gather(rows.to_harvest_rows(np.arange(len(rows))))


def test_planted_features_are_found(store: ObjectStore) -> None:
    run(planted_fit(store, num_steps=600))
    encoder, manifest = load_encoder(store, REFERENCE)
    similarity = encoder.W_dec_FE @ torch.from_numpy(FEATURES_FD).T
    assert similarity.max(dim=0).values.mean() > 0.97
    assert manifest.metrics.explained_variance > 0.93
    torch.testing.assert_close(encoder.W_dec_FE.norm(dim=1), torch.ones(encoder.num_latents))


def test_published_metrics_are_those_of_the_published_weights_on_held_out_rows(store: ObjectStore) -> None:
    run(planted_fit(store))
    encoder, manifest = load_encoder(store, REFERENCE)
    x_BD = rows_of(store, "report")
    codes = encoder.encode(x_BD)
    x, x_hat = x_BD.double().numpy(), encoder.decode(codes).double().numpy()
    expected = 1 - ((x - x_hat) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum()
    assert manifest.metrics.explained_variance == pytest.approx(expected, abs=1e-9)
    assert manifest.metrics.num_rows == len(x)
    assert manifest.metrics.l0 == codes.latents.numel() / len(x)


def test_threshold_is_unbiased_after_a_short_run(store: ObjectStore) -> None:
    """Over its calibration rows, here all training rows, the mean L0 is k though only 200 steps were made."""
    run(planted_fit(store, num_steps=200, warmup_fraction=0.0))
    encoder, manifest = load_encoder(store, REFERENCE)
    x_BD = rows_of(store, "fit")
    assert encoder.encode(x_BD).latents.numel() / len(x_BD) == pytest.approx(NUM_ACTIVE, abs=1e-3)
    assert manifest.metrics.l0 == pytest.approx(NUM_ACTIVE, rel=0.05)
    assert float(encoder.threshold_F[0]) > 0


class KilledError(Exception):
    pass


def kill_at(monkeypatch: pytest.MonkeyPatch, call: int, owner: type, method: str) -> None:
    """Fail before the `call`-th call of a method, from 0."""
    original, calls = getattr(owner, method), iter(range(10**9))

    def wrapped(*args: object, **kwargs: object) -> object:
        if next(calls) == call:
            raise KilledError
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, method, wrapped)


@pytest.mark.parametrize(
    ("owner", "method", "call"),
    [
        (Trainer, "step", 33),
        (Trainer, "step", 5),
        (Checkpoints, "_remove_before", 1),
        (Checkpoints, "save", 1),
        (Checkpoints, "remove", 0),
        (RecordLog, "remove_parts", 0),
    ],
    ids=[
        "between checkpoints",
        "before the first",
        "after a record",
        "after a part of the records",
        "after the manifest",
        "after the checkpoints",
    ],
)
def test_an_interrupted_run_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, call: int
) -> None:
    undisturbed, interrupted = open_store(f"file://{tmp_path}/a"), open_store(f"file://{tmp_path}/b")
    run(planted_fit(undisturbed))
    spec = planted_fit(interrupted)
    with monkeypatch.context() as patch:
        kill_at(patch, call, owner, method)
        with pytest.raises(KilledError):
            run(spec)
    run(spec)
    artifact = paths.dictionary("planted", "1")
    for name in ("cfg.json", "sae_weights.safetensors", "training/metrics.jsonl", "manifest.json"):
        assert interrupted.get(f"{artifact}/{name}") == undisturbed.get(f"{artifact}/{name}"), name


def test_a_resumed_run_trains_only_the_steps_that_are_left(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = planted_fit(store)
    with monkeypatch.context() as patch:
        kill_at(patch, 45, Trainer, "step")
        with pytest.raises(KilledError):
            run(spec)
    steps: list[int] = []
    original = Trainer.step
    monkeypatch.setattr(
        Trainer, "step", lambda self, batch: (steps.append(self.num_steps), original(self, batch))[1]
    )
    run(spec)
    assert steps == list(range(40, 60))


def test_the_seed_decides_the_result(tmp_path: Path) -> None:
    stores = [open_store(f"file://{tmp_path}/{name}") for name in "ab"]
    for seed, store in enumerate(stores):
        run(planted_fit(store, seed=seed))
    key = f"{paths.dictionary('planted', '1')}/sae_weights.safetensors"
    assert stores[0].get(key) != stores[1].get(key)


def test_training_curve_is_stored_and_falls(store: ObjectStore) -> None:
    run(planted_fit(store, num_steps=200))
    lines = store.get(f"{TRAINING}/metrics.jsonl").splitlines()
    curve = [StepRecord.model_validate_json(line) for line in lines]
    assert [point.step for point in curve] == list(range(20, 201, 20))
    assert curve[-1].losses["reconstruction"] < 0.5 * curve[0].losses["reconstruction"]
    assert curve[-1].holdout_fvu < 0.5 * curve[0].holdout_fvu
    assert {point.l0 for point in curve} == {float(NUM_ACTIVE)}
    assert {point.holdout_l0 for point in curve} == {float(NUM_ACTIVE)}
    assert all(point.gradient_norm > 0 for point in curve)
    assert curve[-1].learning_rate == pytest.approx(1e-2 / 40)
    timing = [json.loads(line) for line in store.get(f"{TRAINING}/timing.jsonl").splitlines()]
    assert [item["step"] for item in timing] == [point.step for point in curve]
    assert all(item["rows_per_s"] > 0 and 0 <= item["data_wait_share"] <= 1 for item in timing)


def test_no_checkpoint_is_left_beside_a_published_dictionary(store: ObjectStore) -> None:
    run(planted_fit(store))
    left = {
        info.key.split("training/")[1] for info in store.list(f"{paths.dictionary('planted', '1')}/training/")
    }
    assert left == {"metrics.jsonl", "timing.jsonl", "progress.json"}


def test_a_loss_that_is_not_finite_ends_the_run_with_the_reason(store: ObjectStore) -> None:
    run(planted_fit(store, learning_rate=1e38, warmup_fraction=0.0))
    artifact = paths.dictionary("planted", "1")
    record = find_record(store, progress_key(artifact), RunProgress)
    assert record is not None
    assert "learning_rate" in (record.fault or "")
    assert store.head(paths.manifest(artifact)) is None


def test_checkpoints_survive_a_crash_before_their_record(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = planted_fit(store)
    state = initial_state(spec, LAYOUT, RowPairs.of_rows(rows_of(store, "fit")))
    checkpoints = Checkpoints(store, "dictionaries/d/1", "fit")
    checkpoints.save(state)
    state.step = 20
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "record_bytes", lambda record: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            checkpoints.save(state)
    assert checkpoints.load_last().step == 0
    checkpoints.save(state)
    assert len(list(store.list("dictionaries/d/1/training/step-"))) == 1
    assert checkpoints.load_last().step == checkpoints.last_step() == 20


def test_a_damaged_checkpoint_is_refused(store: ObjectStore) -> None:
    checkpoints = Checkpoints(store, "dictionaries/d/1", "fit")
    checkpoints.save(initial_state(planted_fit(store), LAYOUT, RowPairs.of_rows(rows_of(store, "fit"))))
    key = next(iter(store.list("dictionaries/d/1/training/step-"))).key
    data = bytearray(store.get(key))
    data[-1] ^= 1
    store.put(key, bytes(data))
    with pytest.raises(IntegrityError, match=key):
        checkpoints.load_last()


def test_geometric_median_is_where_unit_vectors_cancel_and_resists_outliers() -> None:
    x_ND = torch.randn(400, 5, generator=torch.Generator().manual_seed(0)).double()
    x_ND[:20] += 100
    median_D = geometric_median(x_ND)
    directions = (x_ND - median_D) / (x_ND - median_D).norm(dim=1, keepdim=True)
    assert directions.mean(dim=0).norm() < 1e-5
    assert median_D.norm() < 0.5 < x_ND.mean(dim=0).norm()


def test_learning_rate_rises_holds_and_falls(store: ObjectStore) -> None:
    spec = planted_fit(store, num_steps=100, warmup_fraction=0.1, decay_fraction=0.2, learning_rate=1.0)
    rates = [learning_rate_at(spec, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:81] == pytest.approx([1.0] * 72)
    assert rates[99] == pytest.approx(1 / 20)
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
