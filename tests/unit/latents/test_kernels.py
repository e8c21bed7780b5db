"""Every kernel against the dense formulation, differentiated by autograd in float64, in each implementation."""

import importlib
import os
import subprocess
import sys
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch

from thresher.latents.kernels import (
    SparseCodes,
    codes_above,
    dispatch,
    of_latents,
    plain,
    sparse_decode,
    sparse_encode,
    weight_gradient,
)

B, D, F = 37, 13, 29


@pytest.fixture(params=["cpu", "plain", "gpu"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Triton's run under its interpreter, which it must be told before it is imported."""
    if request.param == "gpu" and not os.environ.get("TRITON_INTERPRET"):
        pytest.skip("runs in a process of its own, below")
    pytest.importorskip({"cpu": "numba", "plain": "torch", "gpu": "triton"}[request.param])
    module = importlib.import_module(f"thresher.latents.kernels.{request.param}")
    monkeypatch.setattr(dispatch, "_kernels", lambda device_type: module)
    return module


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


@pytest.mark.parametrize("centred", [True, False])
def test_decode_and_all_gradients_equal_dense_ones(
    kernels: ModuleType, tensors: dict[str, torch.Tensor], centred: bool
) -> None:
    if not centred:
        tensors["x"] -= tensors["b_dec"]
    codes, mask_BF = some_codes(tensors | {} if centred else tensors | {"b_dec": torch.zeros(D)})
    names = ("W_enc", "b_enc", "W_dec", "b_dec")
    sparse = {name: tensors[name].clone().requires_grad_() for name in names}
    centre_D = sparse["b_dec"] if centred else None
    values_K = sparse_encode(tensors["x"], sparse["W_enc"], sparse["b_enc"], centre_D, codes)
    x_hat_BD = sparse_decode(codes.with_values(values_K), sparse["W_dec"]) + sparse["b_dec"]
    x_hat_BD.backward(tensors["upstream"])

    dense = {name: tensors[name].double().requires_grad_() for name in names}
    centred_BD = tensors["x"].double() - dense["b_dec"] if centred else tensors["x"].double()
    z_BF = centred_BD @ dense["W_enc"].T + dense["b_enc"]
    expected_BD = (z_BF * mask_BF) @ dense["W_dec"] + dense["b_dec"]
    expected_BD.backward(tensors["upstream"].double())

    torch.testing.assert_close(x_hat_BD.double(), expected_BD, rtol=1e-5, atol=1e-5)
    for name in names:
        assert dense[name].grad.abs().max() > 0.1
        torch.testing.assert_close(sparse[name].grad.double(), dense[name].grad, rtol=1e-5, atol=1e-4)


def test_a_number_of_each_latent_and_its_gradient(
    kernels: ModuleType, tensors: dict[str, torch.Tensor]
) -> None:
    codes, mask_BF = some_codes(tensors)
    t_F = tensors["b_enc"].clone().requires_grad_()
    upstream_K = torch.randn(codes.latents.numel(), generator=torch.Generator().manual_seed(8))
    t_K = of_latents(codes, t_F)
    t_K.backward(upstream_K)
    assert torch.equal(t_K.detach(), tensors["b_enc"][codes.latents])
    expected_BF = torch.zeros(B, F, dtype=torch.float64).masked_scatter(mask_BF, upstream_K.double())
    torch.testing.assert_close(t_F.grad.double(), expected_BF.sum(dim=0), rtol=1e-5, atol=1e-5)


def test_no_code_at_all_decodes_to_zero(kernels: ModuleType, tensors: dict[str, torch.Tensor]) -> None:
    codes = codes_above(dense_z(tensors), 1e9)
    assert codes.latents.numel() == 0
    assert torch.equal(sparse_decode(codes, tensors["W_dec"]), torch.zeros(B, D))
    assert torch.equal(weight_gradient(codes, tensors["x"], F), torch.zeros(F, D))


@pytest.mark.parametrize("width", [1, 3, 64, 1500])
def test_sums_and_products_of_any_width(kernels: ModuleType, width: int) -> None:
    generator = torch.Generator().manual_seed(width)
    offsets = torch.tensor([0, 0, 1, 6, 6, 13, 17])
    vector_K = torch.randint(9, (17,), generator=generator)
    values_K = torch.randn(17, generator=generator)
    vectors_VD, rows_BD = (
        torch.randn(9, width, generator=generator),
        torch.randn(6, width, generator=generator),
    )
    row_K = plain.row_of_code(offsets, vector_K)
    sums_BD = torch.zeros(6, width, dtype=torch.float64)
    sums_BD.index_add_(0, row_K, (values_K.unsqueeze(1) * vectors_VD[vector_K]).double())
    dots_K = (rows_BD[row_K].double() * vectors_VD[vector_K].double()).sum(dim=1)
    found_BD = kernels.sum_vectors(offsets, vector_K, values_K, vectors_VD)
    torch.testing.assert_close(found_BD.double(), sums_BD, rtol=1e-5, atol=1e-5)
    totals_B = torch.zeros(6, dtype=torch.float64).index_add_(0, row_K, values_K.double())
    torch.testing.assert_close(kernels.sum_values(offsets, values_K).double(), totals_B, rtol=1e-5, atol=1e-6)
    found_K = kernels.dot_vectors(offsets, vector_K, rows_BD, vectors_VD)
    torch.testing.assert_close(found_K.double(), dots_K, rtol=1e-5, atol=1e-4)


def test_codes_sorted_by_latent(kernels: ModuleType, tensors: dict[str, torch.Tensor]) -> None:
    codes, _ = some_codes(tensors)
    order, expected = kernels.order_by_latent(codes, F), plain.order_by_latent(codes, F)
    assert torch.equal(order.starts, expected.starts)
    assert torch.equal(order.code_K, expected.code_K)
    assert torch.equal(order.row_K, expected.row_K)


def test_selection_kernels_equal_plain_ones(kernels: ModuleType) -> None:
    generator = torch.Generator().manual_seed(4)
    keys_BF = torch.randn(23, 517, generator=generator).bfloat16()
    bias_F = torch.randn(517, generator=generator)
    biased_BF = keys_BF.float() + bias_F
    floors_B = kernels.row_floors(keys_BF, bias_F, 5)
    reached_B = (biased_BF >= floors_B.unsqueeze(1)).sum(dim=1)
    assert reached_B.min() >= 5
    assert reached_B.float().mean() < 8
    found, expected = (module.collect_above(keys_BF, bias_F, floors_B) for module in (kernels, plain))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    keys_N = expected[2].round(decimals=1) - 2.5
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), expected[0].cumsum(0)])
    assert torch.equal(kernels.largest_of_rows(offsets, keys_N, 3), plain.largest_of_rows(offsets, keys_N, 3))
    for k in (1, 20, 10_000):
        assert kernels.kth_largest(keys_N, k) == plain.kth_largest(keys_N, k)


def test_rounding_and_its_norms(kernels: ModuleType) -> None:
    rows_BD = 100 * torch.randn(50, 31, generator=torch.Generator().manual_seed(3))
    rounded_BD, norms_B, errors_B = kernels.rounded(rows_BD, torch.bfloat16)
    assert torch.equal(rounded_BD, rows_BD.bfloat16())
    torch.testing.assert_close(norms_B, rows_BD.norm(dim=1))
    torch.testing.assert_close(errors_B, (rows_BD - rows_BD.bfloat16()).norm(dim=1))


def test_sums_do_not_depend_on_threads(tensors: dict[str, torch.Tensor]) -> None:
    codes, _ = some_codes(tensors)
    threads, found = torch.get_num_threads(), []
    for num_threads in (1, 2, 3):
        torch.set_num_threads(num_threads)
        try:
            decoded_BD = sparse_decode(codes, tensors["W_dec"])
            found.append(torch.cat([decoded_BD, weight_gradient(codes, tensors["x"], F)]))
        finally:
            torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_gpu_kernels_under_triton_s_interpreter() -> None:
    if os.environ.get("TRITON_INTERPRET"):
        pytest.skip("this is that process")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "gpu and not interpreter", __file__],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout
