"""Dictionaries of several sites as a fit saves them."""

import pytest
import torch

from fixtures.plain_models import PlainModel, fvu, reconstructed
from fixtures.splices import TwoModels, evaluated
from thresher.dictionary.job import FitJob
from thresher.dictionary.spec import FitSpec
from thresher.dictionary.training.train_loop import train_and_publish
from thresher.latents.weights import load_encoder, read_dictionary

FITS = {
    "crosscoder": {
        "target": {"kind": "crosscoder", "sites": [{"site": "resid_pre.2"}, {"site": "resid_pre.1"}]},
        "architecture": {"kind": "topk", "num_latents": 96, "k": 12},
    },
    "layer_group": {
        "target": {"kind": "layer_group", "sites": ["resid_pre.2", "resid_pre.1"]},
        "architecture": {"kind": "batch_topk", "num_latents": 96, "k": 12, "whiten_input": True},
    },
}


@pytest.mark.parametrize("kind", FITS)
def test_a_fitted_dictionary_reconstructs_the_models_rows_as_it_did_the_harvested_ones(
    two_models: TwoModels, kind: str
) -> None:
    """Scales and whitening that are folded on saving, and those of sites that are not: measured by the fit itself."""
    training = {"num_steps": 150, "batch_rows": 64, "learning_rate": 5e-3, "dead_after_rows": 3000}
    spec = FitSpec.parse(
        {"root": two_models.store.url, "harvest": "harvest", "name": kind, **FITS[kind]}
        | {"training": training | {"holdout_split": "fit"}}
    )
    train_and_publish(FitJob(spec, version="1", fit_id=kind))
    dictionary = read_dictionary(two_models.store, f"{kind}@1")
    made = evaluated(two_models.store, two_models.base, f"{kind}@1")
    *alone, together = made.results
    assert [result.output_sites for result in alone] == [["resid_pre.2"], ["resid_pre.1"]]
    assert together.metrics.l0 == pytest.approx(dictionary.metrics.l0, rel=0.01)
    assert together.metrics.fvu < 0.6, "it is fitted to these rows"
    if kind == "crosscoder":
        assert together.metrics.fvu == pytest.approx(dictionary.metrics.fvu, rel=0.01)
        for result in alone:
            (site,) = result.output_sites
            assert result.metrics.fvu == pytest.approx(dictionary.metrics.fvu_by_site[site], rel=0.01)
        return
    encoder, _ = load_encoder(two_models.store, "layer_group@1")
    clean = PlainModel(two_models.base, two_models.token_ids_SL).rows(["resid_post.1", "resid_post.0"])
    inputs = zip(dictionary.target.inputs, ("resid_post.1", "resid_post.0"), strict=True)
    scaled = [item.input_scale * clean[same_rows] for item, same_rows in inputs]
    y_hat = [reconstructed(encoder, x)[0] for x in scaled]
    pooled = fvu({"rows": torch.cat(y_hat)}, {"rows": torch.cat(scaled)}, ["rows"])
    assert pooled == pytest.approx(dictionary.metrics.fvu, rel=0.01), (
        "what the fit measured: scaled rows as one"
    )
    for x_hat, x, result in zip(y_hat, scaled, alone, strict=True):
        assert result.metrics.fvu == pytest.approx(fvu({"x": x_hat}, {"x": x}, ["x"]), rel=1e-3)
