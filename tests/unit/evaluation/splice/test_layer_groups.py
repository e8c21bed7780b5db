"""Layer groups spliced into a tiny model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fixtures.model_harvests import WIDTH
from fixtures.plain_models import Change, PlainModel, check_metrics, fvu, reconstructed
from fixtures.splices import (
    LENGTH,
    NUM_SEQUENCES,
    TwoModels,
    evaluated,
    lossy,
    publish_encoder,
    target_of,
)

SCALES = {"resid_post.1": 0.1, "mlp_out.2": 0.3, "resid_post.0": 0.15}


@pytest.mark.parametrize("k", [None, 9])
def test_a_layer_group_at_each_site_and_at_all_as_they_come(two_models: TwoModels, k: int | None) -> None:
    encoder = lossy(WIDTH, centres_input=True, k=k)
    target = target_of("layer_group", [(site, WIDTH, "harvest", scale) for site, scale in SCALES.items()])
    made = evaluated(
        two_models.store,
        two_models.base,
        publish_encoder(two_models.store, f"group{k}", encoder, target),
        batch_tokens=3 * LENGTH,
    )
    sites = list(SCALES)
    assert [result.output_sites for result in made.results] == [*([site] for site in sites), sites]
    assert all(result.input_sites == result.output_sites for result in made.results)
    assert [result.num_spliced_rows for result in made.results] == [NUM_SEQUENCES * (LENGTH - 1)] * 3 + [
        3 * NUM_SEQUENCES * (LENGTH - 1)
    ]
    plain = PlainModel(two_models.base, two_models.token_ids_SL)
    clean = plain.rows(sites)

    def at(site: str) -> Change:
        scale = SCALES[site]
        return lambda y: reconstructed(encoder, scale * y.double())[0] / scale

    changes = {site: at(site) for site in sites}
    y_hat = {site: changes[site](clean[site]) for site in sites}
    l0 = {site: reconstructed(encoder, SCALES[site] * clean[site])[1] for site in sites}
    for result in made.results:
        check_metrics(result.metrics, plain, clean, changes, result.output_sites)
        assert result.metrics.fvu == pytest.approx(fvu(y_hat, clean, result.output_sites), rel=1e-4)
        assert result.metrics.l0 == pytest.approx(np.mean([l0[site] for site in result.output_sites]))
    unscaled = {site: lambda y: reconstructed(encoder, y)[0] for site in sites}
    assert fvu({site: unscaled[site](clean[site]) for site in sites}, clean, sites) != pytest.approx(
        made.results[-1].metrics.fvu, rel=0.01
    ), "the scales count"


def test_a_layer_group_that_is_exact_costs_nothing_anywhere(two_models: TwoModels) -> None:
    exact = replace(
        lossy(WIDTH, centres_input=True),
        W_enc_DF=torch.cat([torch.eye(WIDTH), -torch.eye(WIDTH)], dim=1),
        W_dec_FE=torch.cat([torch.eye(WIDTH), -torch.eye(WIDTH)]),
        b_enc_F=torch.zeros(2 * WIDTH),
        threshold_F=torch.zeros(2 * WIDTH),
    )
    target = target_of("layer_group", [(site, WIDTH, "harvest", scale) for site, scale in SCALES.items()])
    for result in evaluated(
        two_models.store, two_models.base, publish_encoder(two_models.store, "exact", exact, target)
    ).results:
        assert result.metrics.fvu < 1e-10
        assert result.metrics.kl_spliced.value == pytest.approx(0, abs=1e-6)
        assert result.metrics.ce_spliced.value == pytest.approx(result.metrics.ce_clean.value, abs=1e-5)
        assert result.metrics.kl_recovered_from_zero.value == pytest.approx(1, abs=1e-5)
