"""A fit that begins with another dictionary's weights."""

import pytest
import torch

from fixtures.planted_fits import planted_fit
from thresher.contracts import paths
from thresher.contracts.errors import MissingArtifactError, SpecError
from thresher.dictionary.job import FitJob
from thresher.dictionary.prepare import check_fit
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.training.train_loop import train_and_publish
from thresher.latents.weights import load_encoder
from thresher.storage import ObjectStore
from thresher.storage.artifacts import record_bytes

STILL = {"num_steps": 1, "learning_rate": 1e-12, "warmup_fraction": 0, "decay_fraction": 0}


@pytest.fixture
def first(store: ObjectStore) -> FitSpec:
    spec = planted_fit(store)
    train_and_publish(FitJob(spec, "1", check_fit(store, spec).fit_id))
    return spec


def continued(first: FitSpec, **changes: object) -> FitSpec:
    data = first.model_dump()
    data["training"] |= STILL
    return FitSpec.parse({**data, "name": "continued", "initial": "planted@1", **changes})


@pytest.mark.parametrize(
    "architecture",
    [
        {"kind": "batch_topk", "num_latents": 40, "k": 2},
        {"kind": "batch_topk", "num_latents": 40, "k": 2, "decoder_norm": "free"},
        {"kind": "jumprelu", "num_latents": 40, "coefficient": 0.0},
        {"kind": "gated", "num_latents": 40, "coefficient": 0.0},
    ],
)
def test_a_fit_that_does_not_move_is_the_dictionary_that_it_began_with(
    store: ObjectStore, first: FitSpec, architecture: dict[str, object]
) -> None:
    spec = continued(first, architecture=architecture)
    train_and_publish(FitJob(spec, "1", check_fit(store, spec).fit_id))
    (before, manifest), (after, continued_manifest) = (
        load_encoder(store, name) for name in ("planted@1", "continued@1")
    )
    x_BD = 7 * torch.randn(500, before.d_in, generator=torch.Generator().manual_seed(0))
    difference = (after.reconstruct(x_BD) - before.reconstruct(x_BD)).norm(dim=1)
    assert (difference < 1e-3 * x_BD.norm(dim=1)).float().mean() > 0.98, "but for codes at the threshold"
    assert continued_manifest.metrics.fvu == pytest.approx(manifest.metrics.fvu, rel=0.02)


def test_the_weights_are_part_of_the_id(store: ObjectStore, first: FitSpec) -> None:
    other = first.model_copy(update={"training": first.training.model_copy(update={"seed": 1})})
    train_and_publish(FitJob(other, "2", check_fit(store, other).fit_id))
    one, two = (
        check_fit(store, continued(first, initial=name)).fit_id for name in ("planted@1", "planted@2")
    )
    assert one != two
    assert one != check_fit(store, continued(first, initial=None)).fit_id


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": {"kind": "topk", "num_latents": 41, "k": 2}}, "num_latents"),
        (
            {"architecture": {"kind": "topk", "num_latents": 40, "k": 2, "whiten_input": True}},
            "architecture.whiten_input",
        ),
        ({"architecture": {"kind": "pca", "num_latents": 8}}, "from rows alone"),
        ({"initial": "planted"}, "initial"),
    ],
)
def test_what_cannot_begin_so_is_refused(
    store: ObjectStore, first: FitSpec, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        check_fit(store, continued(first, **changes))


def test_a_dictionary_of_another_target_is_refused(store: ObjectStore, first: FitSpec) -> None:
    _, manifest = load_encoder(store, "planted@1")
    pooled = manifest.target.model_copy(update={"kind": "layer_group"})
    key = paths.manifest(paths.dictionary("planted", "1"))
    store.put(key, record_bytes(manifest.model_copy(update={"target": pooled})))
    with pytest.raises(SpecError, match="a layer_group"):
        check_fit(store, continued(first))


def test_a_dictionary_that_is_not_there(store: ObjectStore, first: FitSpec) -> None:
    with pytest.raises(MissingArtifactError, match="planted/9"):
        check_fit(store, continued(first, initial="planted@9"))
