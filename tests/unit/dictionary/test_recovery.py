"""Every architecture finds planted features: correlated, hierarchical and rare ones, in superposition."""

import pytest
import torch

from fixtures.pair_fits import ARCHITECTURES, PairFit, pair_spec
from fixtures.superposition import NUM_RARE, Superposition
from thresher.activations.row_pairs import RowPairs
from thresher.dictionary.target.pair_layout import PairLayout

pytestmark = pytest.mark.slow

ONE_OF_EACH_KIND = ["topk", "batch_topk", "matryoshka", "relu_tanh", "gated", "jumprelu_target"]


def recovered(name: str, layout: PairLayout, planted: Superposition, **extra: object) -> torch.Tensor:
    """cosine_S of each planted feature with the latent most like it."""
    fit = PairFit(pair_spec({**ARCHITECTURES[name], **extra}), layout, *planted.rows(40_000, seed=1))
    trainer = fit.trainer()
    fit.train(trainer)
    return planted.recovery(trainer.dictionary().W_dec_FE)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_autoencoders(name: str) -> None:
    cosine_S = recovered(name, PairLayout((32,), (32,)), Superposition.random(32))
    assert cosine_S.mean() > 0.92
    assert cosine_S[-NUM_RARE:].mean() > 0.85


@pytest.mark.parametrize("name", ["topk", "batch_topk", "jumprelu"])
def test_free_decoders(name: str) -> None:
    layout = PairLayout((32,), (32,))
    cosine_S = recovered(name, layout, Superposition.random(32), decoder_norm="free")
    assert cosine_S.mean() > 0.9


@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_crosscoders(name: str) -> None:
    cosine_S = recovered(name, PairLayout((16, 24), (16, 24)), Superposition.random(40))
    assert cosine_S.mean() > 0.85


@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_transcoders_find_the_features_of_the_output(name: str) -> None:
    layout = PairLayout((32,), (28,), reconstructs_input=False)
    cosine_S = recovered(name, layout, Superposition.random(32, 28, seed=3))
    assert cosine_S.mean() > 0.78


@pytest.mark.parametrize("name", ["batch_topk", "gated", "jumprelu_target"])
def test_a_skip_connection_takes_over_what_is_linear(name: str) -> None:
    x_ND, y_NE = Superposition.random(32, 28, seed=3).rows(20_000, seed=1)
    y_NE = y_NE + x_ND @ torch.randn(32, 28, generator=torch.Generator().manual_seed(9))
    fvu = {}
    for skip in (False, True):
        layout = PairLayout((32,), (28,), reconstructs_input=False, skip=skip)
        fit = PairFit(pair_spec(ARCHITECTURES[name], num_steps=600), layout, x_ND, y_NE)
        fvu[skip] = float(fit.train(fit.trainer()).reconstruction_loss)
    assert fvu[True] < 0.5 * fvu[False]


def test_whitened_inputs_are_no_worse_where_one_direction_dominates() -> None:
    planted = Superposition.random(32)
    x_ND, _ = planted.rows(40_000, seed=1)
    loud_D = torch.nn.functional.normalize(torch.randn(32, generator=torch.Generator().manual_seed(5)), dim=0)
    x_ND = x_ND + 60 * torch.randn(len(x_ND), 1, generator=torch.Generator().manual_seed(6)) * loud_D
    found = {}
    for whiten in (False, True):
        spec = pair_spec({**ARCHITECTURES["batch_topk"], "whiten_input": whiten})
        fit = PairFit(spec, PairLayout((32,), (32,)), x_ND, x_ND)
        trainer = fit.trainer()
        fit.train(trainer)
        across_FE = trainer.dictionary().W_dec_FE
        across_FE = across_FE - (across_FE @ loud_D)[:, None] * loud_D
        found[whiten] = float(planted.recovery(across_FE).mean())
    assert found[True] > 0.8
    assert found[True] > found[False] + 0.03


def test_the_fixture_is_in_superposition_and_its_features_can_be_told_apart() -> None:
    planted = Superposition.random(32)
    cosine_SS = planted.input_SD @ planted.input_SD.T - torch.eye(len(planted.input_SD))
    assert len(planted.input_SD) > 32
    assert cosine_SS.abs().max() < 0.6
    x_ND, y_NE = planted.rows(100, seed=0)
    assert RowPairs.of_rows(x_ND).y_BE is x_ND
    assert y_NE is x_ND
