"""What other trainers got wrong, pinned one by one. (The threshold of short runs, the geometric median and the formula
of explained variance are held in test_training.py and test_encoder.py.)

Shape suffixes: B rows, D width of the input, E width of the output, F latents.
"""

import pytest
import torch

from fixtures.objectives import (
    LAYOUTS,
    VARIANCE,
    B,
    F,
    batch_of,
    dead_latents,
    objective_of,
    specs,
    weights_of,
)
from fixtures.pair_fits import ARCHITECTURES, PairFit, pair_spec
from fixtures.superposition import Superposition
from thresher.activations.row_pairs import RowPairs
from thresher.dictionary.architectures.auxiliary import AuxiliaryLoss
from thresher.dictionary.architectures.spec import MatryoshkaSpec
from thresher.dictionary.architectures.straight_through import jump_relu, step
from thresher.dictionary.target.pair_layout import PairLayout

AUTOENCODER, TRANSCODER = LAYOUTS["autoencoder"], LAYOUTS["transcoder"]


@pytest.mark.parametrize("name", ["topk", "batch_topk", "matryoshka"])
def test_auxk_reaches_encoder_and_decoder_of_dead_latents_and_nothing_through_its_target(name: str) -> None:
    """The residual is detached: a gradient through it would reach living latents."""
    spec = specs()[name]
    weights, dead_F = weights_of(spec, AUTOENCODER), dead_latents(2, 9, 17)
    objective_of(spec, AUTOENCODER).losses(weights, batch_of(AUTOENCODER), dead_F, 0).auxiliary.backward()
    for weight_name in ("W_enc", "b_enc", "W_dec"):
        size_F = weights[weight_name].grad.reshape(F, -1).abs().sum(dim=1)
        assert (size_F[dead_F] > 0).all()
        assert (size_F[~dead_F] == 0).all()


def test_auxk_is_decoded_without_b_dec() -> None:
    """Of a transcoder b_dec is in no pre-activation either: for one residual it changes nothing."""
    spec = specs()["topk"]
    weights, dead_F = weights_of(spec, TRANSCODER), dead_latents(2, 9, 17)
    loss = AuxiliaryLoss(spec, objective_of(spec, TRANSCODER))
    residual_BE = torch.randn(B, 7, generator=torch.Generator().manual_seed(3))
    values = []
    for b_dec_E in (torch.zeros(7), torch.full((7,), 9.0)):
        values.append(loss({**weights, "b_dec": b_dec_E}, batch_of(TRANSCODER), residual_BE, dead_F).item())
    assert values[0] == values[1]
    loss(weights, batch_of(TRANSCODER), residual_BE, dead_F).backward()
    assert weights["b_dec"].grad is None


@pytest.mark.parametrize(("num_dead", "scale"), [(1, 0.2), (4, 0.8), (5, 1.0), (9, 1.0)])
def test_auxk_is_scaled_by_the_number_of_dead_latents(num_dead: int, scale: float) -> None:
    """Latents that model nothing leave the whole residual: k_aux is 5."""
    spec = specs()["topk"]
    weights = weights_of(spec, TRANSCODER)
    weights["W_dec"].data.zero_()
    residual_BE = torch.ones(B, 7)
    loss = AuxiliaryLoss(spec, objective_of(spec, TRANSCODER))
    found = loss(weights, batch_of(TRANSCODER), residual_BE, dead_latents(*range(num_dead)))
    assert found.item() == pytest.approx(scale * 7 / VARIANCE)


@pytest.mark.parametrize("prefix_weights", [None, (1.0, 2.0, 5.0)])
def test_matryoshka_losses_are_averaged_once(prefix_weights: tuple[float, ...] | None) -> None:
    """Where every prefix reconstructs alike, the loss is that of one of them."""
    spec = MatryoshkaSpec(
        kind="matryoshka", num_latents=F, k=4, prefixes=(5, 12, F), prefix_weights=prefix_weights
    )
    weights = weights_of(spec, AUTOENCODER)
    weights["b_enc"].data[5:] = -1e3
    losses = objective_of(spec, AUTOENCODER).losses(weights, batch_of(AUTOENCODER), dead_latents(), 0)
    assert losses.total.item() == pytest.approx(losses.reconstruction.item(), rel=1e-5)


def test_straight_through_gradients_are_those_documented() -> None:
    """Rajamanoharan et al. 2024b, eq. 11 and 12, of pre-activations: one just below its threshold moves it, too."""
    z = torch.tensor([0.2, 0.45, 0.55, 0.9, -0.3], requires_grad=True)
    threshold = torch.full((5,), 0.5, requires_grad=True)
    grad = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    out = jump_relu(z, threshold, 0.2)
    out.backward(grad)
    torch.testing.assert_close(out, torch.tensor([0, 0, 0.55, 0.9, 0]))
    torch.testing.assert_close(z.grad, torch.tensor([0.0, 0, 3, 4, 0]))
    torch.testing.assert_close(threshold.grad, -0.5 / 0.2 * torch.tensor([0.0, 2, 3, 0, 0]))

    threshold.grad, z.grad = None, None
    out = step(z, threshold, 0.2)
    out.backward(grad)
    assert out.tolist() == [0, 0, 1, 1, 0]
    torch.testing.assert_close(threshold.grad, -1 / 0.2 * torch.tensor([0.0, 2, 3, 0, 0]))
    assert z.grad is None


def test_thresholds_are_float32_and_learn_from_half_precision_rows() -> None:
    layout = PairLayout((32,), (32,))
    x_ND = Superposition.random(32).rows(2000, seed=1)[0].bfloat16()
    fit = PairFit(pair_spec(ARCHITECTURES["jumprelu"], num_steps=5, learning_rate=1e-4), layout, x_ND, x_ND)
    trainer = fit.trainer()
    before_F = trainer.weights["log_threshold"].detach().clone()
    fit.train(trainer)
    after_F = trainer.weights["log_threshold"].detach()
    assert after_F.dtype == trainer.dictionary().threshold_F.dtype == torch.float32
    moved_F = (after_F - before_F).abs()
    assert (moved_F > 0).float().mean() > 0.9
    assert moved_F.max() < 2**-9, "smaller than what bfloat16 can tell from 1"


def test_transcoder_inputs_are_not_centred() -> None:
    for name, spec in specs().items():
        weights, batch = weights_of(spec, TRANSCODER), batch_of(TRANSCODER)
        shifted = {**weights, "b_dec": weights["b_dec"].detach() + 3}
        moved = RowPairs(batch.x_BD, batch.y_BE + 3)
        losses = objective_of(spec, TRANSCODER).losses(weights, batch, dead_latents(), 50)
        again = objective_of(spec, TRANSCODER).losses(shifted, moved, dead_latents(), 50)
        assert again.total.item() == pytest.approx(losses.total.item(), rel=1e-4), name
