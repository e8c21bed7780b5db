"""Collectives that are the identity in a single process. Tensors only: nothing is ever pickled."""

import torch
from torch import distributed


def sum_over_workers(tensor: torch.Tensor) -> torch.Tensor:
    """Add up a tensor of the same shape in every worker, in place."""
    if distributed.is_initialized():
        distributed.all_reduce(tensor)
    return tensor


def copy_from_first_worker(tensor: torch.Tensor) -> torch.Tensor:
    """Overwrite a tensor by the first worker's, in place."""
    if distributed.is_initialized():
        distributed.broadcast(tensor, src=0)
    return tensor


def gather_values(values_N: torch.Tensor) -> torch.Tensor:
    """Every worker's values, in the order of ranks; their numbers may differ."""
    if not distributed.is_initialized():
        return values_N
    world_size = distributed.get_world_size()
    sizes = [torch.zeros(1, dtype=torch.int64, device=values_N.device) for _ in range(world_size)]
    distributed.all_gather(sizes, torch.tensor([values_N.numel()], device=values_N.device))
    counts = [int(size) for size in sizes]
    padded = values_N.new_zeros(max(counts))
    padded[: values_N.numel()] = values_N
    parts = [torch.empty_like(padded) for _ in range(world_size)]
    distributed.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def gather_rows(x_BD: torch.Tensor, numbers_N: torch.Tensor) -> torch.Tensor:
    """x_ND: rows of the global batch, which is every worker's rows in the order of ranks, by their numbers."""
    if not distributed.is_initialized():
        return x_BD[numbers_N]
    counts = gather_values(torch.tensor([len(x_BD)], device=x_BD.device))
    local_N = numbers_N - int(counts[: distributed.get_rank()].sum())
    own_N = (local_N >= 0) & (local_N < len(x_BD))
    x_ND = x_BD.new_zeros(len(numbers_N), x_BD.shape[1])
    x_ND[own_N] = x_BD[local_N[own_N]]
    return sum_over_workers(x_ND)
