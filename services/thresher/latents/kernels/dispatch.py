"""Which kernels run, by device: the one place that decides it.

On the CPU loops compiled by numba, on CUDA devices Triton's; elsewhere, or where these are not installed, plain torch.
"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Protocol, TypeVar, cast

import torch

from thresher.latents.kernels import plain
from thresher.latents.kernels.codes import LatentOrder, SparseCodes

Item = TypeVar("Item")
Result = TypeVar("Result")


class Kernels(Protocol):
    """What each module of kernels has; plain.py documents it."""

    def sum_vectors(
        self, offsets: torch.Tensor, vector_K: torch.Tensor, values_K: torch.Tensor, vectors_VD: torch.Tensor
    ) -> torch.Tensor: ...

    def sum_values(self, offsets: torch.Tensor, values_K: torch.Tensor) -> torch.Tensor: ...

    def dot_vectors(
        self, offsets: torch.Tensor, vector_K: torch.Tensor, rows_BD: torch.Tensor, vectors_VD: torch.Tensor
    ) -> torch.Tensor: ...

    def order_by_latent(self, codes: SparseCodes, num_latents: int) -> LatentOrder: ...

    def rounded(
        self, rows_BD: torch.Tensor, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]: ...

    def row_floors(self, keys_BF: torch.Tensor, bias_F: torch.Tensor, k: int) -> torch.Tensor: ...

    def collect_above(
        self, keys_BF: torch.Tensor, bias_F: torch.Tensor, floors_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]: ...

    def kth_largest(self, values_N: torch.Tensor, k: int) -> float: ...

    def largest_of_rows(self, offsets: torch.Tensor, keys_N: torch.Tensor, k: int) -> torch.Tensor: ...


def kernels_for(device: torch.device) -> Kernels:
    """The kernels of a device."""
    return _kernels(device.type)


@cache
def _has_numba() -> bool:
    return find_spec("numba") is not None


def is_compiled(device: torch.device) -> bool:
    """Whether compiled loops run on the device."""
    return device.type == "cpu" and _has_numba()


def on_pieces(function: Callable[[Item], Result], items: list[Item], device: torch.device) -> list[Result]:
    """function(item) of every item, in order; on the CPU's threads, each running torch's operators by itself."""
    if is_compiled(device):
        from thresher.latents.kernels.threads import on_threads

        return on_threads(function, items)
    return [function(item) for item in items]


@cache
def _kernels(device_type: str) -> Kernels:
    if is_compiled(torch.device(device_type)):
        from thresher.latents.kernels import cpu

        return cast(Kernels, cpu)
    if device_type == "cuda" and find_spec("triton"):
        from thresher.latents.kernels import gpu

        return cast(Kernels, gpu)
    return cast(Kernels, plain)
