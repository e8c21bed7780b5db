"""What fit decides before it starts a cluster."""

import pytest

from fixtures.planted_fits import SITE, planted_fit
from thresher.config import Spec
from thresher.contracts import paths
from thresher.contracts.errors import AlreadyExistsError, IntegrityError, MissingArtifactError, SpecError
from thresher.contracts.manifests import HarvestManifest
from thresher.dictionary import fit as fit_module
from thresher.dictionary.architectures.spec import BatchTopKSpec
from thresher.dictionary.claim import claim_dictionary
from thresher.dictionary.fit import fit
from thresher.dictionary.job import FitJob
from thresher.dictionary.prepare import fit_id_of
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.training.train_loop import train_and_publish
from thresher.storage import ObjectStore
from thresher.storage.artifacts import read_record


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("no cluster should be needed")

    monkeypatch.setattr(fit_module, "train_on_ray", refuse)


def changed(spec: FitSpec, **values: object) -> FitSpec:
    return FitSpec.parse({**spec.model_dump(), **values})


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"target": {"kind": "autoencoder", "site": "resid_post.7"}}, "target"),
        ({"target": {"kind": "autoencoder", "site": "nowhere"}}, "target.site"),
        ({"name": "a/b"}, "name"),
        ({"version": "a/b"}, "version"),
        ({"architecture": {"kind": "batch_topk", "num_latents": 64, "k": 16}}, "k"),
        ({"architecture": {"kind": "batch_topk", "num_latents": 64, "k": 64}}, "k"),
        ({"training": {"num_steps": 1, "holdout_split": "explain"}}, "split"),
        ({"training": {"num_steps": 1, "min_position": 32}}, "split"),
        ({"training": {"num_steps": 1, "warmup_fraction": 0.9}}, "decay_fraction"),
        ({"training": {"num_steps": 1, "batch_rows": 2}, "num_workers": 3}, "num_workers"),
    ],
)
def test_a_spec_that_does_not_fit_is_refused_with_the_mend(
    store: ObjectStore, values: dict[str, object], field: str
) -> None:
    with pytest.raises(SpecError, match=field):
        fit(changed(planted_fit(store), **values))
    assert list(store.list("dictionaries/")) == []


def test_a_missing_harvest_and_a_damaged_shard(store: ObjectStore) -> None:
    spec = planted_fit(store)
    with pytest.raises(MissingArtifactError, match="elsewhere"):
        fit(changed(spec, harvest="elsewhere"))
    manifest = read_record(store, paths.manifest(paths.harvest("harvest")), HarvestManifest)
    key = manifest.shards[3].sites[SITE].key
    store.put(key, store.get(key)[:-1])
    with pytest.raises(IntegrityError, match=key):
        fit(spec)


def test_a_dictionary_that_is_made_is_not_made_again(store: ObjectStore) -> None:
    spec = planted_fit(store, num_steps=20)
    fit_id = fit_id_of(spec)
    claim_dictionary(store, spec.name, fit_id, None)
    train_and_publish(FitJob(spec, "1", fit_id))
    assert fit(spec).version == "1"
    assert fit(changed(spec, version="1", num_workers=2, checkpoint_every_steps=7)).fit_id == fit_id
    with pytest.raises(AlreadyExistsError, match="version 2, which is free"):
        fit(changed(spec, version="1", architecture={"kind": "batch_topk", "num_latents": 41, "k": 2}))


def test_only_what_is_made_enters_the_id(store: ObjectStore) -> None:
    spec = planted_fit(store)
    assert isinstance(spec, Spec)
    assert fit_id_of(changed(spec, use_gpu=True, cpus_per_worker=9, root="s3://bucket/x")) == fit_id_of(spec)
    assert fit_id_of(changed(spec, harvest="other")) != fit_id_of(spec)
    assert fit_id_of(
        changed(spec, architecture={"kind": "batch_topk", "num_latents": 40, "k": 3})
    ) != fit_id_of(spec)


def test_default_learning_rate_falls_with_the_width(store: ObjectStore) -> None:
    spec = planted_fit(store, learning_rate=None)
    wide = spec.model_copy(update={"architecture": BatchTopKSpec(kind="batch_topk", num_latents=2**16, k=2)})
    assert wide.learning_rate == pytest.approx(1e-4)
