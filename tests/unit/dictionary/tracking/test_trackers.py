"""TensorBoard's files, read event by event, and a real MLflow store in a folder."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event

from fixtures.planted_fits import planted_fit
from thresher.contracts import paths
from thresher.dictionary.job import FitJob
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.training.train_loop import train_and_publish
from thresher.dictionary.training.trainer import Trainer
from thresher.storage import ObjectStore, open_store

TRAINING = f"{paths.dictionary('planted', '1')}/training"
STEPS = [20, 40, 60]
KEPT_APART = ("rows_per_s", "data_wait_share")


class KilledError(Exception):
    pass


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(f"file://{tmp_path}/store")


def run(spec: FitSpec) -> None:
    train_and_publish(FitJob(spec, version="1", fit_id="fit"))


def run_with_a_kill(spec: FitSpec, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Fail at a step, then run to the end."""
    original = Trainer.step

    def failing(self: Trainer, *arguments: object) -> object:
        if self.num_steps == step:
            raise KilledError
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", failing)
        with pytest.raises(KilledError):
            run(spec)
    run(spec)


def events(folder: Path) -> Iterator[Event]:
    """Of TensorBoard's record format: length, its masked checksum, event, its masked checksum."""
    for file in sorted(folder.iterdir()):
        data, at = file.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            body = data[at + 12 : at + 12 + length]
            (stored,) = struct.unpack_from("<I", data, at + 12 + length)
            checksum = crc32c(body)
            assert stored == (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF
            event = Event()
            event.ParseFromString(body)
            yield event
            at += length + 16


def scalars_of(folder: Path) -> dict[str, dict[int, float]]:
    """Value by step of every name, as TensorBoard shows them: a start hides what lies behind the step it begins at."""
    shown: dict[str, dict[int, float]] = {}
    for event in events(folder):
        if event.HasField("session_log") and event.session_log.status == event.session_log.START:
            shown = {name: {s: v for s, v in by.items() if s < event.step} for name, by in shown.items()}
        for value in event.summary.value:
            shown.setdefault(value.tag, {})[event.step] = value.simple_value
    return shown


def mlflow_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of a real MLflow store in a folder, which the runs of the test go to as well."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow", reason="pip install thresher[tracking]")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/mlflow")
    return mlflow.MlflowClient(f"file://{tmp_path}/mlflow")


def lines_of(store: ObjectStore, name: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in store.get(f"{TRAINING}/{name}.jsonl").splitlines()]


def test_tensorboard_shows_every_record_once(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = planted_fit(store)
    spec = spec.model_copy(
        update={
            "tracking": spec.tracking.model_copy(update={"tensorboard_dir": str(tmp_path / "boards")}),
            "checkpoint_every_steps": 20,
        }
    )
    run_with_a_kill(spec, monkeypatch, 55)
    shown = scalars_of(tmp_path / "boards" / "planted@1")
    records = lines_of(store, "metrics")
    assert [record["step"] for record in records] == STEPS
    for name in (
        "fvu",
        "l0",
        "holdout_fvu",
        "dead_fraction",
        "dense_fraction",
        "learning_rate",
        "gradient_norm",
    ):
        assert shown[name] == {r["step"]: pytest.approx(r[name], rel=1e-6) for r in records}, name
    assert shown["loss/auxiliary"] == {
        r["step"]: pytest.approx(r["losses"]["auxiliary"], rel=1e-6) for r in records
    }
    assert set(KEPT_APART) <= set(shown)
    assert not set(KEPT_APART) & set(records[0])


def test_mlflow_gets_every_record_once(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = mlflow_store(tmp_path, monkeypatch)
    spec = planted_fit(store)
    run_with_a_kill(spec.model_copy(update={"checkpoint_every_steps": 30}), monkeypatch, 45)
    (made,) = client.search_runs([client.get_experiment_by_name("thresher").experiment_id])
    assert (made.info.run_name, made.info.status) == ("planted@1", "FINISHED")
    assert made.data.params["harvest"] == "harvest"
    records = lines_of(store, "metrics")
    for name in ("fvu", "holdout_fvu", "gradient_norm"):
        history = client.get_metric_history(made.info.run_id, name)
        assert [(m.step, m.value) for m in history] == [(r["step"], r[name]) for r in records], name


def test_a_failed_fit_is_marked_in_mlflow(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = mlflow_store(tmp_path, monkeypatch)
    run(planted_fit(store, learning_rate=1e38, warmup_fraction=0.0))
    (made,) = client.search_runs([client.get_experiment_by_name("thresher").experiment_id])
    assert made.info.status == "FAILED"


def test_what_is_tracked_does_not_change_what_is_made(store: ObjectStore, tmp_path: Path) -> None:
    plain = planted_fit(store)
    tracked = plain.model_copy(
        update={"tracking": plain.tracking.model_copy(update={"every_steps": 7, "tensorboard_dir": "x"})}
    )
    assert tracked.identity() == plain.identity()
    run(plain.model_copy(update={"tracking": plain.tracking.model_copy(update={"every_steps": 25})}))
    weights = store.get(f"{paths.dictionary('planted', '1')}/sae_weights.safetensors")
    assert [line["step"] for line in lines_of(store, "metrics")] == [25, 50, 60]
    again = open_store(f"file://{tmp_path}/again")
    run(planted_fit(again))
    assert again.get(f"{paths.dictionary('planted', '1')}/sae_weights.safetensors") == weights
