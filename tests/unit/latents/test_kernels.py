"""Every kernel against the dense formulation, differentiated by autograd in float64."""

import pytest
import torch

from thresher.latents.kernels import SparseCodes, codes_above, sparse_decode, sparse_encode, weight_gradient

B, D, F = 37, 12, 29


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "x": normal(B, D),
        "W_enc": normal(F, D),
        "b_enc": normal(F),
        "W_dec": normal(F, D),
        "b_dec": normal(D),
        "upstream": normal(B, D),
    }


def dense_z(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return (tensors["x"] - tensors["b_dec"]) @ tensors["W_enc"].T + tensors["b_enc"]


def some_codes(tensors: dict[str, torch.Tensor]) -> tuple[SparseCodes, torch.Tensor]:
    """Codes above 2.5, with some rows and some latents empty, and the same as a mask."""
    z_BF = dense_z(tensors)
    z_BF[5] = -1.0
    z_BF[:, 7] = -1.0
    return codes_above(z_BF, 2.5), z_BF > 2.5


def test_codes_are_the_entries_above_the_threshold(tensors: dict[str, torch.Tensor]) -> None:
    codes, mask_BF = some_codes(tensors)
    assert torch.equal(codes.row_of_code(), mask_BF.nonzero()[:, 0])
    assert torch.equal(codes.latents, mask_BF.nonzero()[:, 1])
    assert codes.row_offsets.tolist() == [0, *mask_BF.sum(dim=1).cumsum(0).tolist()]
    assert codes.row_offsets[5] == codes.row_offsets[6]


def test_decode_and_all_gradients_equal_dense_ones(tensors: dict[str, torch.Tensor]) -> None:
    codes, mask_BF = some_codes(tensors)
    names = ("W_enc", "b_enc", "W_dec", "b_dec")
    sparse = {name: tensors[name].clone().requires_grad_() for name in names}
    values_K = sparse_encode(tensors["x"], sparse["W_enc"], sparse["b_enc"], sparse["b_dec"], codes)
    x_hat_BD = sparse_decode(codes.with_values(values_K), sparse["W_dec"]) + sparse["b_dec"]
    x_hat_BD.backward(tensors["upstream"])

    dense = {name: tensors[name].double().requires_grad_() for name in names}
    z_BF = (tensors["x"].double() - dense["b_dec"]) @ dense["W_enc"].T + dense["b_enc"]
    expected_BD = (z_BF * mask_BF) @ dense["W_dec"] + dense["b_dec"]
    expected_BD.backward(tensors["upstream"].double())

    torch.testing.assert_close(x_hat_BD.double(), expected_BD, rtol=1e-5, atol=1e-5)
    for name in names:
        assert dense[name].grad.abs().max() > 0.1
        torch.testing.assert_close(sparse[name].grad.double(), dense[name].grad, rtol=1e-5, atol=1e-4)


def test_no_code_at_all_decodes_to_zero(tensors: dict[str, torch.Tensor]) -> None:
    codes = codes_above(dense_z(tensors), 1e9)
    assert codes.latents.numel() == 0
    assert torch.equal(sparse_decode(codes, tensors["W_dec"]), torch.zeros(B, D))
    assert torch.equal(weight_gradient(codes, tensors["x"], F), torch.zeros(F, D))
