"""The objective and all its gradients against an independent dense formulation in float64.

Shape suffixes: B rows, D width, F latents.
"""

import pytest
import torch

from thresher.dictionary.batch_selection import BatchTopKSelector
from thresher.dictionary.batch_topk import BatchTopKObjective, Weights
from thresher.latents.kernels import Preactivations

B, D, F, K = 48, 10, 32, 4
VARIANCE = 7.5


@pytest.fixture
def weights() -> Weights:
    generator = torch.Generator().manual_seed(0)
    W_dec_FD = torch.nn.functional.normalize(torch.randn(F, D, generator=generator), dim=1)
    noise_FD = 0.1 * torch.randn(F, D, generator=generator)
    return Weights(
        W_enc_FD=(W_dec_FD + noise_FD).requires_grad_(),
        b_enc_F=(0.1 * torch.randn(F, generator=generator)).requires_grad_(),
        W_dec_FD=W_dec_FD.requires_grad_(),
        b_dec_D=(0.3 * torch.randn(D, generator=generator)).requires_grad_(),
    )


@pytest.fixture
def x_BD() -> torch.Tensor:
    return torch.randn(B, D, generator=torch.Generator().manual_seed(1)) * 2


def dense_losses(
    weights: dict[str, torch.Tensor], x_BD: torch.Tensor, dead: list[int], k_aux: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """BatchTopK over the flattened batch; dead latents' residual as in Gao et al. 2024, A.2."""
    z_BF = (x_BD - weights["b_dec"]) @ weights["W_enc"].T + weights["b_enc"]
    keep = torch.zeros(B * F).index_fill(0, z_BF.relu().flatten().topk(B * K).indices, 1).view(B, F)
    x_hat_BD = (z_BF.relu() * keep) @ weights["W_dec"] + weights["b_dec"]
    reconstruction = ((x_BD - x_hat_BD) ** 2).sum() / (B * VARIANCE)
    if not dead:
        return reconstruction, torch.zeros((), dtype=torch.float64)
    alive = torch.ones(F, dtype=torch.bool).index_fill(0, torch.tensor(dead), False)
    masked_BF = z_BF.masked_fill(alive, -torch.inf)
    rank_BF = masked_BF.argsort(dim=1, descending=True).argsort(dim=1)
    chosen_BF = (rank_BF < min(k_aux, len(dead))) & ~alive
    residual_hat_BD = torch.where(chosen_BF, z_BF, 0).relu() @ weights["W_dec"]
    target_BD = (x_BD - x_hat_BD).detach()
    scale = min(len(dead) / k_aux, 1)
    return reconstruction, scale * ((target_BD - residual_hat_BD) ** 2).sum() / (B * VARIANCE)


@pytest.mark.parametrize(
    ("dead", "k_aux"), [([], 5), ([3, 8, 20], 5), (list(range(10, 22)), 5)], ids=["none", "few", "many"]
)
def test_losses_and_gradients(weights: Weights, x_BD: torch.Tensor, dead: list[int], k_aux: int) -> None:
    dead_F = torch.zeros(F, dtype=torch.bool)
    dead_F[dead] = True
    losses = BatchTopKObjective(K, k_aux, VARIANCE).losses(weights, x_BD, dead_F, B)
    (losses.reconstruction + 0.25 * losses.auxiliary).backward()

    reference = {name: value.detach().double().requires_grad_() for name, value in weights.named().items()}
    reconstruction, auxiliary = dense_losses(reference, x_BD.double(), dead, k_aux)
    (reconstruction + 0.25 * auxiliary).backward()

    assert losses.reconstruction.item() == pytest.approx(reconstruction.item(), rel=1e-5)
    assert losses.auxiliary.item() == pytest.approx(auxiliary.item(), rel=1e-5)
    assert losses.codes.latents.numel() == B * K
    for name, weight in weights.named().items():
        assert reference[name].grad.abs().max() > 1e-3
        torch.testing.assert_close(weight.grad.double(), reference[name].grad, rtol=1e-4, atol=1e-6)


def test_auxiliary_gradient_reaches_encoder_and_decoder_of_dead_latents_alone(
    weights: Weights, x_BD: torch.Tensor
) -> None:
    dead_F = torch.zeros(F, dtype=torch.bool)
    dead_F[[2, 9, 17]] = True
    BatchTopKObjective(K, 5, VARIANCE).losses(weights, x_BD, dead_F, B).auxiliary.backward()
    for gradient in (weights.W_enc_FD.grad, weights.b_enc_F.grad, weights.W_dec_FD.grad):
        size_F = gradient.reshape(F, -1).abs().sum(dim=1)
        assert (size_F[dead_F] > 0).all()
        assert (size_F[~dead_F] == 0).all()


def test_workers_losses_and_gradients_add_up(weights: Weights, x_BD: torch.Tensor) -> None:
    """With k = F every positive value is active, in parts of the batch as in the whole."""
    dead_F = torch.zeros(F, dtype=torch.bool)
    dead_F[4] = True
    objective = BatchTopKObjective(F, 5, VARIANCE)
    whole = objective.losses(weights, x_BD, dead_F, B)
    (whole.reconstruction + whole.auxiliary).backward()
    gradients = {name: weight.grad.clone() for name, weight in weights.named().items()}
    for weight in weights.named().values():
        weight.grad = None
    for part in (x_BD[:20], x_BD[20:]):
        losses = objective.losses(weights, part, dead_F, B)
        (losses.reconstruction + losses.auxiliary).backward()
    for name, weight in weights.named().items():
        torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shrink", [1.0, 0.99, 0.01, -1.0], ids=["same", "near", "far", "none positive"])
def test_selection_is_exact_whatever_the_last_batch_was(shrink: float) -> None:
    generator = torch.Generator().manual_seed(2)
    selector = BatchTopKSelector(k=3)
    for scale in (1.0, shrink, 5.0, shrink):
        z_BF = scale * torch.randn(40, 50, generator=generator).abs().contiguous()
        codes = selector.select(Preactivations(z_BF, torch.eye(50), torch.zeros(50)), 40)
        expected = z_BF.relu().flatten().topk(120).indices.sort().values
        expected = expected[z_BF.flatten()[expected] > 0]
        assert torch.equal(codes.row_of_code() * 50 + codes.latents, expected)
        assert torch.equal(codes.values, z_BF.flatten()[expected])
