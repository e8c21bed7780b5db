"""Loops compiled by numba, run by threads of our own over disjoint ranges of rows or latents.

numba's own pools are not used: beside torch's they spin for the same cores, one of them ends the process when two
threads call it, and a range per thread is all that these loops need. No sum crosses a range, so that results do
not depend on the number of threads.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from threading import Barrier
from typing import Any, TypeVar

import numba
import torch

PIECES_PER_THREAD = 4
FAST_MATH = {"contract", "reassoc", "nsz", "arcp"}
Function = TypeVar("Function", bound=Callable[..., Any])
Result = TypeVar("Result")


def compiled(function: Function) -> Function:
    """Compile at the first call; machine code is kept beside the source or in the user's cache, where writable.

    Multiplications and additions may be fused and sums taken over vector lanes: their order depends on the
    processor alone.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": FAST_MATH, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError:  # there is no folder to keep machine code in
        return numba.njit(**options)(function)  # type: ignore[no-any-return]


def for_ranges(loop: Callable[..., None], count: int, *arguments: Any) -> None:
    """Call loop(start, stop, *arguments) over pieces of range(count), on as many threads as torch uses."""
    num_pieces = max(1, min(count, torch.get_num_threads() * PIECES_PER_THREAD))
    for_bounds(loop, [count * piece // num_pieces for piece in range(num_pieces + 1)], *arguments)


def for_bounds(loop: Callable[..., None], bounds: list[int], *arguments: Any) -> None:
    """Call loop(bounds[i], bounds[i + 1], *arguments) for every i, on as many threads as torch uses."""
    if torch.get_num_threads() == 1:
        loop(bounds[0], bounds[-1], *arguments)
    else:
        on_threads(lambda piece: loop(*piece, *arguments), list(pairwise(bounds)))


def on_threads(function: Callable[[Any], Result], items: list[Any]) -> list[Result]:
    """function(item) of every item, in order, on as many threads as torch uses; in each of them torch uses one."""
    num_threads = torch.get_num_threads()
    if num_threads == 1:
        return [function(item) for item in items]
    return list(_pool(num_threads, os.getpid()).map(function, items))


@cache
def _pool(num_threads: int, process: int) -> ThreadPoolExecutor:
    """Of this process: threads do not survive a fork."""
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix=f"kernels-{process}")
    together = Barrier(num_threads)

    def use_one_thread(_: int) -> None:
        torch.get_num_threads()  # a thread takes torch's number at its first call, and would overwrite ours
        torch.set_num_threads(1)
        together.wait()

    list(pool.map(use_one_thread, range(num_threads)))
    torch.set_num_threads(num_threads)  # the last call decides for threads yet to come
    return pool
