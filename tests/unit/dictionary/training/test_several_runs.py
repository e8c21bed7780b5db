"""Several dictionaries on one read of the rows: each is what it would be alone."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from fixtures.planted_fits import planted_fit
from thresher.activations.loader import BatchPlan
from thresher.contracts import paths
from thresher.dictionary.job import FitJob
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.target.harvests import read_harvests
from thresher.dictionary.target.rows import TargetRows
from thresher.dictionary.training import training_run
from thresher.dictionary.training.checkpoint import Checkpoints
from thresher.dictionary.training.run_progress import RunProgress, progress_key
from thresher.dictionary.training.train_loop import train_and_publish
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import read_record

pytestmark = pytest.mark.slow

CHANGES: list[dict[str, dict[str, object]]] = [
    {"architecture": {"k": 3}},
    {"training": {"num_steps": 35}},
    {"architecture": {"kind": "topk", "num_latents": 30}},
    {"training": {"learning_rate": 1e-3, "warmup_fraction": 0.2}},
]
FILES = ("sae_weights.safetensors", "training/metrics.jsonl", "manifest.json")


def jobs(store: ObjectStore) -> list[FitJob]:
    spec = planted_fit(store).model_dump()
    specs = [
        FitSpec.parse({**spec, **{name: {**spec[name], **value} for name, value in change.items()}})
        for change in CHANGES
    ]
    return [FitJob(item, str(index), f"fit{index}") for index, item in enumerate(specs)]


def bytes_of(store: ObjectStore) -> dict[str, bytes]:
    return {
        key: store.get(key)
        for index in range(len(CHANGES))
        for key in (f"{paths.dictionary('planted', str(index))}/{name}" for name in FILES)
    }


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, bytes]:
    store = open_store((tmp_path / "alone").as_uri())
    for job in jobs(store):
        train_and_publish(job)
    return bytes_of(store)


def test_each_is_what_it_would_be_alone(store: ObjectStore, alone: dict[str, bytes]) -> None:
    train_and_publish(*jobs(store))
    assert bytes_of(store) == alone


@pytest.mark.parametrize("stop_at_save", [2, 7, 9])
def test_interrupted_runs_go_on_from_where_each_was(
    store: ObjectStore, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, stop_at_save: int
) -> None:
    original, saves = training_run.Checkpoints.save, iter(range(100))

    def save_and_stop(self: training_run.Checkpoints, state: training_run.TrainingState) -> None:
        original(self, state)
        if next(saves) == stop_at_save:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training_run.Checkpoints, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train_and_publish(*jobs(store))
    train_and_publish(*jobs(store))
    assert bytes_of(store) == alone


def test_what_was_published_before_a_loss_is_left_alone(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = training_run.publish_dictionary

    def publish_one(job: FitJob, *rest: object) -> object:
        if job.version == "1":
            raise KeyboardInterrupt
        return published(job, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(training_run, "publish_dictionary", publish_one)
        with pytest.raises(KeyboardInterrupt):
            train_and_publish(*jobs(store))
    key = paths.manifest(paths.dictionary("planted", "0"))
    first = store.head(key)
    train_and_publish(*jobs(store))
    assert store.head(key) == first
    assert len(bytes_of(store)) == len(CHANGES) * len(FILES)


def test_one_that_diverges_does_not_stop_the_others(store: ObjectStore) -> None:
    sane, mad = jobs(store)[0], jobs(store)[3]
    training = mad.spec.training.model_copy(update={"learning_rate": 1e30})
    mad = FitJob(mad.spec.model_copy(update={"training": training}), "mad", "mad")
    train_and_publish(mad, sane)
    assert store.head(paths.manifest(sane.artifact)) is not None
    assert store.head(paths.manifest(mad.artifact)) is None
    fault = read_record(store, progress_key(mad.artifact), RunProgress).fault
    assert fault is not None
    assert "learning_rate" in fault
    [kept] = list(store.list(f"{mad.artifact}/training/diverged/"))
    assert kept.key in fault
    batches = load(store.get(kept.key))
    last = max(int(name.removeprefix("x.")) for name in batches)
    assert set(batches) == {f"x.{last - 1}", f"x.{last}"}
    with TargetRows(store, read_harvests(store, mad.spec)) as rows:
        plan = BatchPlan(rows.order, mad.spec.training.batch_rows)
        for step in (last - 1, last):
            assert torch.equal(batches[f"x.{step}"], plan.gather(rows.fit, step - 1).x_BD)


def test_no_state_that_is_not_finite_is_saved(store: ObjectStore) -> None:
    training = {"learning_rate": 1e30, "warmup_fraction": 0.0, "num_steps": 60}
    mad = planted_fit(store, **training).model_copy(update={"checkpoint_every_steps": 1})
    train_and_publish(FitJob(mad, "mad", "mad"))
    found = Checkpoints(store, paths.dictionary("planted", "mad"), "mad").load_last()
    assert found is None or all(torch.isfinite(tensor).all() for tensor in found.tensors.values())


def test_weights_that_the_last_step_made_infinite_are_never_published(store: ObjectStore) -> None:
    """Its loss is of the weights before it, and finite."""
    training = {"learning_rate": 1e39, "warmup_fraction": 0.0, "decay_fraction": 0.0, "num_steps": 1}
    mad = FitJob(planted_fit(store, **training), "mad", "mad")
    train_and_publish(mad)
    assert store.head(paths.manifest(mad.artifact)) is None
    assert Checkpoints(store, mad.artifact, "mad").load_last() is None
    fault = read_record(store, progress_key(mad.artifact), RunProgress).fault
    assert fault is not None
    assert "weights are not finite after 1 steps" in fault
