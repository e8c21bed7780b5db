"""The folded dictionary, on rows as harvested, reconstructs what the trained one does on mapped rows.

Shape suffixes: B rows, D width of the input, E width of the output, F latents.
"""

import pytest
import torch

from fixtures.objectives import LAYOUTS, B, F, batch_of, dead_latents, objective_of, specs, weights_of
from thresher.activations.row_pairs import RowPairs
from thresher.contracts.errors import SpecError
from thresher.dictionary.folding import fold
from thresher.dictionary.training.initialise import row_maps

WHITENED = ["autoencoder", "transcoder", "skip"]
CASES = [(target, False) for target in LAYOUTS] + [(target, True) for target in WHITENED]


def harvested(target: str) -> RowPairs:
    """Rows with a mean, another scale a site, and correlated columns."""
    layout = LAYOUTS[target]
    batch = batch_of(layout, 400)

    def distorted(x_BD: torch.Tensor, widths: tuple[int, ...]) -> torch.Tensor:
        mixing_DD = torch.eye(x_BD.shape[1]) + 0.3 * torch.randn(
            x_BD.shape[1], x_BD.shape[1], generator=torch.Generator().manual_seed(4)
        )
        blocks = (x_BD @ mixing_DD + 2).split(widths, dim=1)
        return torch.cat([block * 10.0**site for site, block in enumerate(blocks)], dim=1)

    x_BD = distorted(batch.x_BD, layout.input_widths)
    if layout.reconstructs_input:
        return RowPairs.of_rows(x_BD)
    return RowPairs(x_BD, 30 * distorted(batch.y_BE, layout.output_widths))


@pytest.mark.parametrize(("target", "whiten"), CASES)
@pytest.mark.parametrize("decoder_norm", ["unit", "free"])
@pytest.mark.parametrize("name", specs())
def test_reconstructions_are_the_same(name: str, decoder_norm: str, target: str, whiten: bool) -> None:
    spec, layout = specs(decoder_norm=decoder_norm)[name], LAYOUTS[target]
    if spec.kind in ("batch_topk", "matryoshka"):
        spec = spec.model_copy(update={"k": F - 1})  # every positive code: the threshold is calibrated later
    sample = harvested(target)
    maps = row_maps(sample, layout, whiten_input=whiten)
    rows = slice(0, B)
    batch = (
        RowPairs.of_rows(sample.x_BD[rows])
        if layout.reconstructs_input
        else RowPairs(sample.x_BD[rows], sample.y_BE[rows])
    )
    mapped = maps.apply(batch)
    objective, weights = objective_of(spec, layout), weights_of(spec, layout)
    losses = objective.losses(weights, mapped, dead_latents(), 99)
    encoder = fold(objective, weights, maps.input, maps.output)

    y_hat_BE = encoder.reconstruct(batch.x_BD)
    expected_BE = mapped.y_BE - losses.residual_BE
    torch.testing.assert_close(maps.output.apply(y_hat_BE), expected_BE, rtol=1e-3, atol=1e-3)
    codes = encoder.encode(batch.x_BD)
    assert torch.equal(torch.bincount(codes.latents, minlength=F), losses.num_active_F)
    assert (encoder.k, encoder.centres_input) == (
        4 if name == "topk" else None,
        target == "autoencoder",
    )
    norms_F = sum(block.norm(dim=1) for block in encoder.W_dec_FE.split(layout.output_widths, dim=1))
    if objective.ranks_latents:
        assert norms_F.mean().item() == pytest.approx(1, rel=0.2)
    else:
        torch.testing.assert_close(norms_F, torch.ones(F))


def test_whitening_a_crosscoder_is_refused() -> None:
    with pytest.raises(SpecError, match="whiten_input"):
        row_maps(harvested("crosscoder"), LAYOUTS["crosscoder"], whiten_input=True)


def test_rows_are_mapped_to_a_mean_norm_of_the_root_of_their_width_site_by_site() -> None:
    sample = harvested("crosscoder")
    mapped = row_maps(sample, LAYOUTS["crosscoder"], whiten_input=False).apply(sample)
    assert mapped.y_BE is mapped.x_BD
    for block in mapped.x_BD.split((4, 3, 5), dim=1):
        assert block.norm(dim=1).mean().item() == pytest.approx(block.shape[1] ** 0.5, rel=1e-5)


def test_whitened_rows_have_unit_covariance() -> None:
    sample = harvested("transcoder")
    mapped = row_maps(sample, LAYOUTS["transcoder"], whiten_input=True).apply(sample)
    torch.testing.assert_close(torch.cov(mapped.x_BD.T, correction=0), torch.eye(10), rtol=1e-3, atol=1e-3)
    assert mapped.y_BE.norm(dim=1).mean().item() == pytest.approx(7**0.5, rel=1e-5)


@pytest.mark.parametrize("values", [torch.ones(50, 4), torch.full((50, 4), torch.nan)])
def test_rows_that_do_not_vary_are_refused(values: torch.Tensor) -> None:
    with pytest.raises(SpecError, match="site"):
        row_maps(RowPairs.of_rows(values), LAYOUTS["autoencoder"], whiten_input=False)
