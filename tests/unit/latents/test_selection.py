"""What is chosen, against every key computed densely; and that neither the GEMM nor the threads have a say in it.

Shape suffixes: B rows, D width, F latents.
"""

import pytest
import torch

from thresher.dictionary.training.batch_selection import BatchTopKSelector
from thresher.latents.kernels import (
    Preactivations,
    SparseCodes,
    estimated_share_above,
    select_above,
    select_largest_of_rows,
)
from thresher.latents.kernels import keys as keys_module
from thresher.latents.kernels import selection as selection_module
from thresher.latents.kernels.keys import ApproximateKeys

SHAPES = [(37, 12, 29, 3), (64, 96, 1000, 16), (5, 33, 4099, 64), (1, 7, 3, 3), (130, 576, 700, 1)]


def preactivations(num_rows: int, d_in: int, num_latents: int, *, weighted: bool = False) -> Preactivations:
    generator = torch.Generator().manual_seed(num_latents)
    return Preactivations(
        x_BD=5 * torch.randn(num_rows, d_in, generator=generator),
        W_enc_FD=torch.randn(num_latents, d_in, generator=generator) / d_in**0.5,
        b_enc_F=torch.randn(num_latents, generator=generator),
        weights_F=0.1 + torch.rand(num_latents, generator=generator) if weighted else None,
    )


def exact(given: Preactivations) -> torch.Tensor:
    return given.x_BD.double() @ given.W_enc_FD.double().T + given.b_enc_F


def dense(codes: SparseCodes, num_latents: int) -> torch.Tensor:
    out_BF = torch.zeros(codes.num_rows, num_latents, dtype=torch.float64)
    out_BF[codes.row_of_code(), codes.latents] = codes.values.double()
    return out_BF


@pytest.fixture(params=["bfloat16", "float32"], autouse=True)
def gemm_dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(keys_module, "_gemm_dtype", lambda device_type: getattr(torch, request.param))
    return str(request.param)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection_module, "PIECE_ENTRIES", 1 << 13)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("num_rows", "d_in", "num_latents", "k"), SHAPES)
def test_topk_of_rows(num_rows: int, d_in: int, num_latents: int, k: int, weighted: bool) -> None:
    given = preactivations(num_rows, d_in, num_latents, weighted=weighted)
    codes = select_largest_of_rows(given, k)
    z_BF = exact(given)
    key_BF = z_BF if given.weights_F is None else z_BF * given.weights_F
    chosen_BF = torch.zeros_like(z_BF).scatter(1, key_BF.topk(k, dim=1).indices, 1) * (z_BF > 0)
    torch.testing.assert_close(dense(codes, num_latents), z_BF * chosen_BF, rtol=1e-5, atol=1e-5)
    assert (codes.latents.diff()[codes.row_of_code().diff() == 0] > 0).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("num_rows", "d_in", "num_latents", "k"), SHAPES[:2])
def test_topk_of_a_batch(num_rows: int, d_in: int, num_latents: int, k: int, weighted: bool) -> None:
    selector = BatchTopKSelector(k)
    # The bound of the first batch holds for the second, is too high for the third and too low for the last.
    for factor in (1.0, 1.0, 0.05, 20.0):
        given = preactivations(num_rows, d_in, num_latents, weighted=weighted)
        given.x_BD.mul_(factor)
        codes = selector.select(given, num_rows)
        z_BF = exact(given)
        key_BF = z_BF if given.weights_F is None else z_BF * given.weights_F
        cut = key_BF.relu().flatten().topk(k * num_rows).values[-1]
        expected_BF = torch.where((key_BF >= cut) & (key_BF > 0), z_BF, 0)
        torch.testing.assert_close(dense(codes, num_latents), expected_BF, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("num_rows", "d_in", "num_latents", "k"), SHAPES)
def test_all_above_thresholds(num_rows: int, d_in: int, num_latents: int, k: int) -> None:
    given = preactivations(num_rows, d_in, num_latents)
    threshold_F = 4 * torch.rand(num_latents) - 1
    codes = select_above(given, threshold_F)
    z_BF = exact(given)
    expected_BF = torch.where(z_BF > threshold_F, z_BF, 0)
    torch.testing.assert_close(dense(codes, num_latents), expected_BF, rtol=1e-5, atol=1e-5)


def test_estimated_share_is_near_that_of_all_entries() -> None:
    given = preactivations(130, 96, 1000)
    for threshold in (-1.0, 0.0, 4.0):
        share = float((exact(given) > threshold).double().mean())
        found = estimated_share_above(given, torch.full((1000,), threshold))
        assert found == pytest.approx(share, rel=0.5, abs=0.05)


def test_the_choice_is_exactly_that_of_the_float32_dot_products() -> None:
    """Bit for bit: every latent above minus infinity gives all keys, of which torch chooses."""
    given = preactivations(64, 96, 1000)
    every = select_above(given, torch.full((1000,), -1e9))
    assert every.values.numel() == 64 * 1000
    values_BF = every.values.view(64, 1000)
    top = values_BF.topk(16, dim=1)
    codes = select_largest_of_rows(given, 16)
    assert torch.equal(codes.latents.view(64, 16), top.indices.sort(dim=1).values)
    assert torch.equal(codes.values, values_BF.gather(1, codes.latents.view(64, 16)).flatten())


def test_nearly_tied_latents_are_told_apart_below_the_gemm_s_precision() -> None:
    """Keys that bfloat16 cannot tell apart."""
    x_BD = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    W_FD = torch.randn(1, 64, generator=torch.Generator().manual_seed(1)).repeat(500, 1)
    b_F = 100 + torch.randperm(500, generator=torch.Generator().manual_seed(2)) * 1e-4
    codes = select_largest_of_rows(Preactivations(x_BD, W_FD, b_F), 10)
    assert torch.equal(codes.latents.view(20, 10), b_F.topk(10).indices.sort().values.expand(20, 10))


def test_of_equal_keys_the_first_latents_are_chosen() -> None:
    given = Preactivations(torch.ones(3, 4), torch.ones(100, 4), torch.zeros(100))
    codes = select_largest_of_rows(given, 7)
    assert torch.equal(codes.latents.view(3, 7), torch.arange(7).expand(3, 7))
    assert codes.values.unique().tolist() == [4.0]
    assert BatchTopKSelector(7).select(given, 3).latents.numel() == 300


def test_only_positive_keys_are_chosen() -> None:
    x_BD = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    W_FD = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [-3.0, 0.0]])
    given = Preactivations(x_BD, W_FD, torch.zeros(4))
    for codes in (select_largest_of_rows(given, 4), BatchTopKSelector(4).select(given, 3)):
        assert codes.row_offsets.tolist() == [0, 2, 3, 3]
        assert codes.latents.tolist() == [0, 1, 3]
        assert codes.values.tolist() == [1.0, 2.0, 3.0]


def test_choice_among_some_latents() -> None:
    given = preactivations(40, 12, 90)
    among_N = torch.tensor([3, 4, 17, 50, 51, 80, 89])
    codes = select_largest_of_rows(given, 2, among_N)
    masked_BF = torch.full((40, 90), -torch.inf, dtype=torch.float64)
    masked_BF[:, among_N] = exact(given)[:, among_N]
    top = masked_BF.topk(2, dim=1)
    expected_BF = torch.zeros_like(masked_BF).scatter(1, top.indices, top.values.relu())
    torch.testing.assert_close(dense(codes, 90), expected_BF, rtol=1e-5, atol=1e-5)


def test_threads_and_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    given, threads = preactivations(130, 96, 1000), torch.get_num_threads()
    found = []
    for num_threads, entries in ((1, 1 << 20), (2, 1 << 13), (3, 1 << 12)):
        monkeypatch.setattr(selection_module, "PIECE_ENTRIES", entries)
        torch.set_num_threads(num_threads)
        try:
            batch = BatchTopKSelector(16).select(given, 130)
            found.append((select_largest_of_rows(given, 16), batch, select_above(given, torch.ones(1000))))
            assert torch.get_num_threads() == num_threads
        finally:
            torch.set_num_threads(threads)
    for several in found[1:]:
        for codes, expected in zip(several, found[0], strict=True):
            assert torch.equal(codes.row_offsets, expected.row_offsets)
            assert torch.equal(codes.latents, expected.latents)
            assert torch.equal(codes.values, expected.values)


def test_bounds_hold_for_every_key() -> None:
    given = preactivations(200, 96, 500)
    given.x_BD[3] *= 1e4
    keys = ApproximateKeys(given)
    approximate_BF = keys.rows(0, 200).float() + keys.bias_F
    error_B1 = keys.error_B.unsqueeze(1)
    z_BF = exact(given)
    assert (keys.at_least(approximate_BF, error_B1) <= z_BF).all()
    assert (keys.at_most(approximate_BF, error_B1) >= z_BF).all()
    assert (approximate_BF >= keys.floors(z_BF.float(), error_B1)).all()


@pytest.mark.parametrize("where", ["rows", "weights"])
def test_what_is_no_number_shows_in_the_values(where: str) -> None:
    given = preactivations(20, 12, 29)
    (given.x_BD if where == "rows" else given.W_enc_FD)[3, 3] = torch.nan
    selector = BatchTopKSelector(3)
    for codes in (
        select_largest_of_rows(given, 3),
        select_above(given, torch.zeros(29)),
        selector.select(given, 20),
    ):
        assert codes.values.isnan().all()
        assert codes.values.numel() == 20
