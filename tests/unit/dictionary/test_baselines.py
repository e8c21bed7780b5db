"""Baselines end as dictionaries like any other.

Shape suffixes: N rows, D width, F latents.
"""

import numpy as np
import pytest
import torch

from fixtures.planted_fits import planted_fit
from fixtures.superposition import Superposition
from thresher.contracts.errors import SpecError
from thresher.dictionary.baselines.build import fit_baseline
from thresher.dictionary.baselines.common import chunks_of
from thresher.dictionary.baselines.semi_nmf import factorise
from thresher.dictionary.baselines.spec import (
    BaselineSpec,
    KMeansSpec,
    PcaSpec,
    RandomDirectionsSpec,
    SemiNmfSpec,
)
from thresher.dictionary.job import FitJob
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.training.train_loop import train_and_publish
from thresher.latents.encoder import SparseEncoder
from thresher.latents.weights import load_encoder
from thresher.storage import ObjectStore

D = 16
PLANTED = Superposition.random(D)
X_ND = PLANTED.rows(3000, seed=1)[0]
HELD_OUT_ND = PLANTED.rows(500, seed=2)[0]


def made(spec: BaselineSpec) -> SparseEncoder:
    return fit_baseline(spec, torch.split(X_ND, 500), seed=3)


def fvu(encoder: SparseEncoder) -> float:
    error = (HELD_OUT_ND - encoder.reconstruct(HELD_OUT_ND)).square().sum()
    return float(error / (HELD_OUT_ND - HELD_OUT_ND.mean(dim=0)).square().sum())


def test_pca_leaves_what_the_smallest_components_hold() -> None:
    encoder = made(PcaSpec(kind="pca", num_latents=12))
    x = X_ND.double().numpy()
    axes = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:6]
    centred = HELD_OUT_ND.double().numpy() - x.mean(axis=0)
    left = centred - centred @ axes.T @ axes
    y = HELD_OUT_ND.double().numpy()
    assert fvu(encoder) == pytest.approx((left**2).sum() / ((y - y.mean(axis=0)) ** 2).sum(), rel=0.02)
    assert fvu(made(PcaSpec(kind="pca", num_latents=2 * D))) < 1e-8
    assert (encoder.encode(HELD_OUT_ND).row_offsets.diff() == 6).all()
    assert (made(PcaSpec(kind="pca", num_latents=12, k=2)).encode(HELD_OUT_ND).row_offsets.diff() == 2).all()


def test_k_means_finds_lone_features_and_explains_more_than_random_directions() -> None:
    clusters = made(KMeansSpec(kind="k_means", num_latents=60))
    chance = made(RandomDirectionsSpec(kind="random_directions", num_latents=60, k=1))
    torch.testing.assert_close(clusters.W_dec_FE.norm(dim=1), torch.ones(60))
    assert PLANTED.recovery(clusters.W_dec_FE).mean() > PLANTED.recovery(chance.W_dec_FE).mean() + 0.05
    assert fvu(clusters) < fvu(chance) - 0.05
    assert float(clusters.encode(HELD_OUT_ND).row_offsets.diff().max()) == 1


def test_semi_nmf_improves_with_every_update_and_encodes_new_rows() -> None:
    centred_ND = X_ND - X_ND.mean(dim=0)
    errors = []
    for num_iterations in (1, 2, 4, 8, 16):
        G_NF, W_FD = factorise(centred_ND, 8, num_iterations, seed=0)
        assert (G_NF >= 0).all()
        errors.append(float((centred_ND - G_NF @ W_FD).square().sum()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.9 * errors[0]
    encoder = made(SemiNmfSpec(kind="semi_nmf", num_latents=8, num_iterations=30))
    assert fvu(encoder) < 0.9
    torch.testing.assert_close(encoder.W_dec_FE.norm(dim=1), torch.ones(8))


def test_random_directions_follow_from_the_seed_and_lie_around_the_mean() -> None:
    spec = RandomDirectionsSpec(kind="random_directions", num_latents=20, k=3)
    one, same, other = (fit_baseline(spec, [X_ND], seed) for seed in (1, 1, 2))
    assert torch.equal(one.W_dec_FE, same.W_dec_FE)
    assert not torch.equal(one.W_dec_FE, other.W_dec_FE)
    torch.testing.assert_close(one.b_dec_E, X_ND.mean(dim=0), rtol=1e-4, atol=1e-5)
    assert one.k == 3


def test_chunks_hold_every_row_once() -> None:
    chunks = list(chunks_of(torch.split(X_ND, 300), 700))
    assert torch.equal(torch.cat(chunks), X_ND)
    assert min(map(len, chunks)) >= 700
    with pytest.raises(SpecError, match="num_steps"):
        list(chunks_of([X_ND], 5000))


@pytest.mark.parametrize(
    ("architecture", "field"),
    [
        ({"kind": "pca", "num_latents": 7}, "architecture.num_latents"),
        ({"kind": "semi_nmf", "num_latents": 2**24}, "training.num_steps"),
        ({"kind": "pca", "num_latents": 8, "coefficient": 1}, "coefficient"),
    ],
)
def test_specs_that_cannot_be(store: ObjectStore, architecture: dict[str, object], field: str) -> None:
    with pytest.raises(SpecError, match=field):
        FitSpec.parse({**planted_fit(store).model_dump(), "architecture": architecture})


def test_a_baseline_is_published_like_any_dictionary(store: ObjectStore) -> None:
    spec = FitSpec.parse(
        {**planted_fit(store, num_steps=10).model_dump(), "architecture": {"kind": "pca", "num_latents": 32}}
    )
    train_and_publish(FitJob(spec, version="1", fit_id="fit"))
    encoder, manifest = load_encoder(store, "planted@1")
    assert (manifest.architecture, manifest.k, encoder.num_latents) == ("pca", None, 32)
    assert manifest.metrics.explained_variance > 0.999
    assert manifest.metrics.l0 == pytest.approx(16)
