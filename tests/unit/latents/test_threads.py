"""Compilation without a folder for machine code, and threads that leave torch's as they were."""

import numba
import numpy as np
import pytest
import torch

from thresher.latents.kernels import threads


def add_one(start: int, stop: int, values: np.ndarray) -> None:
    for index in range(start, stop):
        values[index] += 1


def test_compiles_where_machine_code_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    njit = numba.njit

    def without_cache(**options: object) -> object:
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(numba, "njit", without_cache)
    values = np.zeros(5)
    threads.compiled(add_one)(1, 4, values)
    assert values.tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_every_piece_is_done_once_and_torch_s_threads_stay(num_threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        for count in (0, 1, 3, 1000):
            values = np.zeros(count)
            threads.for_ranges(add_one, count, values)
            assert (values == 1).all()
        assert threads.on_threads(lambda item: item * 2, [3, 1, 2]) == [6, 2, 4]
        if num_threads > 1:
            assert set(threads.on_threads(lambda _: torch.get_num_threads(), [0, 1, 2])) == {1}
        assert torch.get_num_threads() == num_threads
    finally:
        torch.set_num_threads(before)


def test_an_error_in_a_thread_is_raised() -> None:
    def fail(item: int) -> None:
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        threads.on_threads(fail, [0, 1])
