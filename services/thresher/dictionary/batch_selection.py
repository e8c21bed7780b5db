"""Which latents of a batch are active under BatchTopK: the largest k times rows, over the whole batch.

Shape suffixes: B rows of this worker, F latents, N candidates.
"""

import torch

from thresher.dictionary.collectives import gather_values, sum_over_workers
from thresher.latents.kernels import SparseCodes, codes_at

BOUND_MARGIN = 0.95


class BatchTopKSelector:
    """Exact selection over the global batch, at the cost of one comparison per pre-activation.

    The cut of one batch, less a margin, is a lower bound that almost always holds for the next: only values
    above it are candidates. Where it does not hold the batch is read again from 0, so the result never
    depends on it. Workers exchange their candidates' values, so the result does not depend on the number of
    workers either.
    """

    def __init__(self, k: int) -> None:
        self._k = k
        self._bound = 0.0

    def select(self, z_BF: torch.Tensor, global_rows: int) -> SparseCodes:
        """Codes of the `k * global_rows` largest positive pre-activations (all of them if they are fewer).

        Values equal to the smallest one selected are all kept.
        """
        count = self._k * global_rows
        flat_N = _flat_indices_above(z_BF, self._bound)
        if self._bound > 0 and _total(flat_N) < count:
            flat_N = _flat_indices_above(z_BF, 0.0)
        values_N = z_BF.view(-1)[flat_N]
        cut = _cut(values_N, count)
        self._bound = BOUND_MARGIN * cut
        return codes_at(z_BF, flat_N[values_N >= cut])


def _flat_indices_above(z_BF: torch.Tensor, bound: float) -> torch.Tensor:
    return torch.nonzero((z_BF > bound).view(-1)).squeeze(1)


def _total(flat_N: torch.Tensor) -> int:
    return int(sum_over_workers(torch.tensor([flat_N.numel()], device=flat_N.device)))


def _cut(values_N: torch.Tensor, count: int) -> float:
    """The `count`-th largest value over all workers; 0 if there are not that many."""
    largest = values_N if values_N.numel() <= count else values_N.topk(count, sorted=False).values
    pooled_N = gather_values(largest)
    if pooled_N.numel() < count:
        return 0.0
    return float(pooled_N.kthvalue(pooled_N.numel() - count + 1).values)
