"""Whole fits of targets in this process, without Ray."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.remote_stores import RemoteStore
from fixtures.target_harvests import FEATURES_FD, WIDTH, target_fit, write_target_harvest
from thresher.activations.row_source import gather_pairs
from thresher.contracts import paths
from thresher.contracts.manifests import DictionaryManifest
from thresher.dictionary.job import FitJob
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.target.harvests import read_harvests
from thresher.dictionary.target.rows import TargetRows
from thresher.dictionary.training import train_loop, training_run
from thresher.dictionary.training.run_progress import RunProgress, progress_key
from thresher.dictionary.training.train_loop import train_and_publish
from thresher.latents.site_encoder import encoder_at_site
from thresher.latents.weights import load_encoder
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import read_record

pytestmark = pytest.mark.slow

AUTOENCODER = {"kind": "autoencoder", "site": "resid_post.1"}
LAYER_GROUP = {"kind": "layer_group", "sites": ["resid_post.1", "resid_post.2"]}
BLOCKS = {"shuffle": {"kind": "blocks", "block_rows": 64, "window_blocks": 8}}


@pytest.fixture
def files(tmp_path: Path) -> ObjectStore:
    store = open_store((tmp_path / "store").as_uri())
    write_target_harvest(store)
    return store


def fitted(store: ObjectStore, spec: FitSpec) -> DictionaryManifest:
    train_and_publish(FitJob(spec, version="1", fit_id="fit"))
    return load_encoder(store, "target@1")[1]


def test_a_layer_group_weighs_its_sites_alike(files: ObjectStore) -> None:
    manifest = fitted(files, target_fit(files, LAYER_GROUP, training={"num_steps": 600}))
    scales = {item.site: item.input_scale for item in manifest.target.inputs}
    assert scales["resid_post.1"] / scales["resid_post.2"] == pytest.approx(10, rel=0.05)
    encoder, _ = load_encoder(files, "target@1")
    similarity = encoder.W_dec_FE @ torch.from_numpy(FEATURES_FD).T
    assert similarity.max(dim=0).values.mean() > 0.95
    assert manifest.metrics.num_rows == 2 * 20 * 31
    assert manifest.metrics.explained_variance > 0.9


def test_a_layer_group_is_read_at_each_site_as_harvested(files: ObjectStore) -> None:
    spec = target_fit(files, LAYER_GROUP)
    manifest = fitted(files, spec)
    saved, _ = load_encoder(files, "target@1")
    with TargetRows(
        files, read_harvests(files, target_fit(files, {"kind": "autoencoder", "site": "resid_post.2"}))
    ) as rows:
        x_BD = gather_pairs(rows.holdout, np.arange(50)).x_BD
    scale = manifest.target.inputs[1].input_scale
    own = encoder_at_site(saved, manifest, "resid_post.2")
    codes, expected = own.encode(x_BD), saved.encode(x_BD * scale)
    assert torch.equal(codes.latents, expected.latents)
    torch.testing.assert_close(codes.values, expected.values, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(own.decode(codes), saved.decode(expected) / scale, rtol=1e-4, atol=1e-3)


def test_an_autoencoder_is_read_as_it_was_saved(files: ObjectStore) -> None:
    manifest = fitted(files, target_fit(files, AUTOENCODER))
    saved, _ = load_encoder(files, "target@1")
    assert encoder_at_site(saved, manifest, "resid_post.1") is saved
    assert manifest.target.kind == "autoencoder"
    assert (manifest.site, manifest.harvest_ids, manifest.d_in, manifest.d_out) == (
        "resid_post.1",
        ["harvest"],
        WIDTH,
        WIDTH,
    )


def test_a_mixture_holds_its_shares_and_says_so(files: ObjectStore) -> None:
    write_target_harvest(files, "other", seed=1)
    spec = target_fit(files, AUTOENCODER, mixture=[{"harvest": "other", "weight": 0.25}])
    own = 100 * 31
    with TargetRows(files, read_harvests(files, spec)) as rows:
        for step in range(5):
            numbers = rows.order.items(step * 128, (step + 1) * 128)
            assert abs((numbers < own).sum() - 128 * 0.8) < 2
        assert len(rows.fit) == 2 * own
    manifest = fitted(files, spec)
    assert manifest.harvest_ids == ["harvest", "other"]
    assert manifest.mixture[0].weight == 0.25
    assert manifest.metrics.num_rows == 2 * 20 * 31


def test_a_fit_on_ranges_is_the_fit_on_files(
    files: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks read by ranges from a remote store give the same bytes as the same order over mapped files."""
    spec = target_fit(files, LAYER_GROUP, training=BLOCKS)
    fitted(files, spec)
    artifact = paths.dictionary("target", "1")
    names = ("sae_weights.safetensors", "training/metrics.jsonl", "manifest.json")
    mapped = {name: files.get(f"{artifact}/{name}") for name in names}
    for info in list(files.list(artifact)):
        files.delete(info.key)
    remote = RemoteStore(files)
    monkeypatch.setattr(train_loop, "open_store", lambda root: remote)
    cache = tmp_path / "cache"
    train_and_publish(
        FitJob(FitSpec.parse({**spec.model_dump(), "cache_gib": 1e-6, "cache_dir": str(cache)}), "1", "fit")
    )
    assert {name: files.get(f"{artifact}/{name}") for name in names} == mapped
    assert not cache.exists(), "nothing was copied to the disk"


@pytest.mark.parametrize("training", [{}, BLOCKS])
def test_an_interrupted_fit_of_pooled_and_mixed_rows_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, training: dict[str, object]
) -> None:
    results = []
    for name in "ab":
        store = open_store((tmp_path / name).as_uri())
        write_target_harvest(store)
        write_target_harvest(store, "other", seed=1)
        mixture = [{"harvest": "other", "weight": 0.7}]
        job = FitJob(target_fit(store, LAYER_GROUP, mixture=mixture, training=training), "1", "fit")
        if name == "b":
            steps = iter(range(10**6))
            original = training_run.Trainer.step

            def step(
                self: object, *pairs: object, original: object = original, steps: object = steps
            ) -> object:
                if next(steps) == 37:
                    raise KeyboardInterrupt
                return original(self, *pairs)

            with monkeypatch.context() as patch:
                patch.setattr(training_run.Trainer, "step", step)
                with pytest.raises(KeyboardInterrupt):
                    train_and_publish(job)
        train_and_publish(job)
        results.append(store.get(f"{job.artifact}/sae_weights.safetensors"))
    assert results[0] == results[1]


def test_the_record_of_the_run_says_who_waited(files: ObjectStore) -> None:
    fitted(files, target_fit(files, AUTOENCODER))
    record = read_record(files, progress_key(paths.dictionary("target", "1")), RunProgress)
    assert record.num_rows == 60 * 128
    assert record.rows_per_s > 0
    assert record.bytes_per_s > record.rows_per_s * WIDTH * 2
    assert 0 <= record.data_wait_share <= 1
    assert 0 < record.read_share <= 1
    assert record.waits.split(" (")[0] in ("compute-bound", "waits for data")


TRANSCODER = {"kind": "transcoder", "input_site": "mlp_in.1", "output_site": "mlp_out.1"}
CROSSCODER = {"kind": "crosscoder", "sites": [{"site": "resid_post.1"}, {"site": "mlp_out.1"}]}


def published(store: ObjectStore, spec: FitSpec) -> DictionaryManifest:
    train_and_publish(FitJob(spec, version="1", fit_id="fit"))
    key = paths.manifest(paths.dictionary("target", "1"))
    return read_record(store, key, DictionaryManifest)


def test_a_transcoder_reconstructs_its_output_site(files: ObjectStore) -> None:
    """The planted features go through a linear map: what reads them can write their images."""
    manifest = published(files, target_fit(files, TRANSCODER, training={"num_steps": 600}))
    assert [item.site for item in manifest.target.inputs] == ["mlp_in.1"]
    assert [item.site for item in manifest.target.outputs] == ["mlp_out.1"]
    assert (manifest.d_in, manifest.d_out, manifest.site) == (16, 20, "mlp_in.1->mlp_out.1")
    assert manifest.metrics.explained_variance > 0.8


def test_a_skip_connection_takes_the_linear_part(files: ObjectStore) -> None:
    spec = target_fit(files, {**TRANSCODER, "skip": True}, training={"num_steps": 600})
    assert published(files, spec).metrics.explained_variance > 0.99


def test_a_crosscoder_reconstructs_every_site_whatever_their_sizes(files: ObjectStore) -> None:
    """resid_post.1 and mlp_out.1 are made of the same features."""
    manifest = published(files, target_fit(files, CROSSCODER, training={"num_steps": 600}))
    assert (manifest.d_in, manifest.d_out, manifest.site) == (36, 36, "resid_post.1+mlp_out.1")
    assert manifest.metrics.explained_variance > 0.8


def test_a_crosscoder_of_two_models_reads_both_harvests(files: ObjectStore) -> None:
    write_target_harvest(files, "other", seed=0, sequences_per_shard=7)
    sites = [{"site": "resid_post.1"}, {"site": "resid_post.1", "harvest": "other"}]
    spec = target_fit(files, {"kind": "crosscoder", "sites": sites}, training={"num_steps": 600})
    manifest = published(files, spec)
    assert manifest.harvest_ids == ["harvest", "other"]
    assert manifest.metrics.explained_variance > 0.8


@pytest.mark.parametrize("target", [TRANSCODER, {**TRANSCODER, "skip": True}, CROSSCODER])
def test_a_resumed_fit_of_pairs_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: dict[str, object]
) -> None:
    weights = []
    for name in "ab":
        store = open_store((tmp_path / name).as_uri())
        write_target_harvest(store)
        job = FitJob(target_fit(store, target), "1", "fit")
        if name == "b":
            kept = training_run.Checkpoints.save

            def save_and_stop(self: object, *state: object, kept: object = kept) -> None:
                kept(self, *state)
                raise KeyboardInterrupt

            with monkeypatch.context() as patch:
                patch.setattr(training_run.Checkpoints, "save", save_and_stop)
                with pytest.raises(KeyboardInterrupt):
                    train_and_publish(job)
        train_and_publish(job)
        weights.append(store.get(f"{job.artifact}/sae_weights.safetensors"))
    assert weights[0] == weights[1]
