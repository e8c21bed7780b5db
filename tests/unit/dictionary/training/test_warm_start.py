"""Weights to start from compute what the dictionary computes, in the units of training."""

from dataclasses import replace

import pytest
import torch

from thresher.contracts.errors import SpecError
from thresher.dictionary.training.warm_start import check_initial, for_architecture, weights_from_encoder
from thresher.latents.encoder import SparseEncoder

D, E, F = 10, 6, 30


def make(d_out: int, *, centres_input: bool, skip: bool = False, k: int | None = None) -> SparseEncoder:
    generator = torch.Generator().manual_seed(0)
    shapes = ((D, F), (F,), (F, d_out), (d_out,), (D, d_out))
    W_enc, b_enc, W_dec, b_dec, W_skip = (torch.randn(shape, generator=generator) for shape in shapes)
    threshold_F = torch.zeros(F) if k else torch.rand(F, generator=generator) + 0.2
    return SparseEncoder(W_enc, b_enc, W_dec, b_dec, threshold_F, k, W_skip if skip else None, centres_input)


CASES = {
    "autoencoder": (make(D, centres_input=True), True),
    "uncentred_autoencoder": (make(D, centres_input=False), True),
    "transcoder": (make(E, centres_input=False), False),
    "skip_transcoder": (make(E, centres_input=False, skip=True), False),
    "crosscoder": (make(D, centres_input=False), False),
}


def trained(
    weights: dict[str, torch.Tensor], x_BD: torch.Tensor, *, centres: bool
) -> tuple[torch.Tensor, ...]:
    """Codes and reconstructions of training, in float64."""
    w = {name: weight.double() for name, weight in weights.items()}
    x_BD = x_BD.double()
    z_BF = (x_BD - (w["b_dec"] if centres else 0)) @ w["W_enc"].T + w["b_enc"]
    codes_BF = z_BF * (z_BF > w["threshold"])
    y_hat_BE = codes_BF @ w["W_dec"] + w["b_dec"]
    return codes_BF, y_hat_BE + x_BD @ w["W_skip"].T if "W_skip" in w else y_hat_BE


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("unit_norm", [True, False])
def test_scaled_weights_reconstruct_scaled_rows(name: str, unit_norm: bool) -> None:
    encoder, centres = CASES[name]
    if centres:
        s_D = t_E = torch.full((D,), 3.5)
    else:
        s_D = torch.cat([torch.full((4,), 0.3), torch.full((D - 4,), 5.0)])
        t_E = s_D if name == "crosscoder" else torch.full((E,), 0.7)
    widths = (4, D - 4) if name == "crosscoder" else (encoder.d_out,)
    weights = weights_from_encoder(
        encoder,
        s_D,
        t_E,
        centres_input=centres,
        output_widths=widths,
        unit_norm=unit_norm,
        skip=encoder.W_skip_DE is not None,
    )
    x_BD = 2 * torch.randn(50, D, generator=torch.Generator().manual_seed(1))
    codes_BF, y_hat_BE = trained(weights, x_BD * s_D, centres=centres)
    torch.testing.assert_close(y_hat_BE / t_E, encoder.reconstruct(x_BD).double(), rtol=1e-4, atol=1e-4)
    codes = encoder.encode(x_BD)
    active_BF = torch.zeros(50, F, dtype=torch.bool)
    active_BF[codes.row_of_code(), codes.latents] = True
    assert torch.equal(codes_BF > 0, active_BF)
    norms_F = sum(block.norm(dim=1) for block in torch.split(weights["W_dec"], widths, dim=1))
    if unit_norm:
        torch.testing.assert_close(norms_F, torch.ones(F))
    else:
        assert float(norms_F.mean()) == pytest.approx(1, rel=1e-5)


def test_an_autoencoder_of_unit_norm_keeps_its_encoder() -> None:
    encoder = make(D, centres_input=True)
    encoder = replace(encoder, W_dec_FE=torch.nn.functional.normalize(encoder.W_dec_FE, dim=1))
    scale_D = torch.full((D,), 2.5)
    weights = weights_from_encoder(
        encoder, scale_D, scale_D, centres_input=True, output_widths=(D,), unit_norm=True
    )
    torch.testing.assert_close(weights["W_enc"], encoder.W_enc_DF.T)
    torch.testing.assert_close(weights["W_dec"], encoder.W_dec_FE)
    torch.testing.assert_close(weights["b_enc"], 2.5 * encoder.b_enc_F)
    torch.testing.assert_close(weights["b_dec"], 2.5 * encoder.b_dec_E)
    torch.testing.assert_close(weights["threshold"], 2.5 * encoder.threshold_F)


def test_a_skip_connection_that_the_dictionary_lacks_begins_at_0() -> None:
    ones = torch.ones(D)
    weights = weights_from_encoder(
        make(E, centres_input=False),
        ones,
        ones[:E],
        centres_input=False,
        output_widths=(E,),
        unit_norm=True,
        skip=True,
    )
    assert torch.equal(weights["W_skip"], torch.zeros(E, D))


def test_architectures_find_the_weights_under_their_own_names() -> None:
    ones = torch.ones(D)
    encoder = make(D, centres_input=True)
    weights = weights_from_encoder(
        encoder, ones, ones, centres_input=True, output_widths=(D,), unit_norm=True
    )
    plain = {"W_enc", "b_enc", "W_dec", "b_dec"}
    assert for_architecture(weights, plain).keys() == plain
    jumprelu = for_architecture(weights, {*plain, "log_threshold"})
    torch.testing.assert_close(jumprelu["log_threshold"].exp(), weights["threshold"])
    gated = for_architecture(weights, {"W_enc", "W_dec", "b_dec", "b_gate", "b_mag", "r_mag"})
    x_BD = torch.randn(40, D)
    p_BF = (x_BD - gated["b_dec"]) @ gated["W_enc"].T
    gated_BF = (p_BF + gated["b_gate"] > 0) * (gated["r_mag"].exp() * p_BF + gated["b_mag"]).relu()
    z_BF = p_BF + weights["b_enc"]
    torch.testing.assert_close(gated_BF, z_BF * (z_BF > weights["threshold"]))


@pytest.mark.parametrize(
    ("shape", "fault"),
    [
        ({"num_latents": F + 1}, "num_latents 30.*num_latents 31"),
        ({"d_in": D + 1, "d_out": E + 1}, "d_in 10, d_out 6"),
        ({"skip": False}, "target.skip"),
    ],
)
def test_a_dictionary_of_another_shape_is_refused(shape: dict[str, int], fault: str) -> None:
    encoder = make(E, centres_input=False, skip=True)
    fits = {"d_in": D, "d_out": E, "num_latents": F, "skip": True, "centres_input": False}
    check_initial(encoder, **fits)
    with pytest.raises(SpecError, match=f"initial.*{fault}"):
        check_initial(encoder, **{**fits, **shape})
