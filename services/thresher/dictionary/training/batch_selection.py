"""Which latents of a batch are active under BatchTopK: the largest k times rows, over the whole batch.

Shape suffixes: B rows of this worker, F latents, K codes, N candidates.
"""

from dataclasses import dataclass
from itertools import count as count_from

import torch

from thresher.dictionary.training.collectives import gather_values, sum_over_workers
from thresher.latents.kernels import SparseCodes
from thresher.latents.kernels.dispatch import kernels_for, on_pieces
from thresher.latents.kernels.keys import ApproximateKeys, Preactivations
from thresher.latents.kernels.selection import (
    counts_of_mask,
    exact_values,
    not_finite,
    offsets_of,
    pieces,
    weighted,
)

MARGIN, LEAST_MARGIN, MARGIN_STEP = 0.9, 0.5, 0.02
MAX_HALVINGS = 5
FIRST_BOUND = 0.5
"""Of the median row's k-th largest key."""


@dataclass(frozen=True)
class _Candidates:
    """Latents of some rows whose exact keys may exceed a bound."""

    offsets: torch.Tensor
    latents_N: torch.Tensor
    least_N: torch.Tensor
    """The least that each exact key can be, and below, the most."""
    most_N: torch.Tensor

    def where(self, mask_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Offsets and latents of what is marked."""
        return offsets_of(counts_of_mask(self.offsets, mask_N)), self.latents_N[mask_N]


class BatchTopKSelector:
    """Exact selection over the global batch, of which a fast GEMM finds the candidates.

    The cut of one batch, less a margin, is a lower bound that almost always holds for the next: only keys that may be
    above it are kept. Where it turns out too high the batch is read again under a lower one, so the result never
    depends on it, and the margin is wider for the steps that follow. Workers exchange their candidates' keys, so the
    result does not depend on the number of workers either; nor, as in selection.py, on the GEMM.
    """

    def __init__(self, k: int) -> None:
        self._k = k
        self._bound: float | None = None
        self._margin = MARGIN

    @torch.no_grad()
    def select(self, preactivations: Preactivations, global_rows: int) -> SparseCodes:
        """Codes of the `k * global_rows` largest positive keys (all of them if they are fewer).

        Keys equal to the smallest one selected are all kept.
        """
        count = self._k * global_rows
        keys = ApproximateKeys(preactivations)
        found, least_cut = self._find(keys, preactivations, count)
        offsets, latents_N = found.where(found.most_N >= least_cut)
        kernels = kernels_for(preactivations.x_BD.device)
        values_N = exact_values(kernels, preactivations, slice(None), offsets, latents_N)
        keys_N = weighted(preactivations, values_N, latents_N)
        mask_N = (keys_N >= self._cut(keys_N, count)) & (keys_N > 0)
        if not keys.finite:
            return not_finite(preactivations)
        counts_B = counts_of_mask(offsets, mask_N)
        return SparseCodes(offsets_of(counts_B), latents_N[mask_N], values_N[mask_N])

    def _find(
        self, keys: ApproximateKeys, preactivations: Preactivations, count: int
    ) -> tuple[_Candidates, float]:
        """Whatever may be among the `count` largest keys, and the least that the smallest of those can be."""
        first = bound = self._first_bound(keys, preactivations) if self._bound is None else self._bound
        for attempt in count_from(1):
            found = _candidates(keys, preactivations, bound)
            least_cut = self._cut(found.least_N, count)
            # Were some key above the least cut missed, the bound would be above it, too.
            if not _any_worker(least_cut < bound, preactivations.x_BD.device):
                break
            lower = bound / 2 if attempt < MAX_HALVINGS else 0.0
            bound = MARGIN * least_cut if least_cut > 0 else lower
        if least_cut < first:
            self._margin = max(LEAST_MARGIN, self._margin * MARGIN * least_cut / first)
        else:
            self._margin = min(MARGIN, self._margin + MARGIN_STEP)
        self._bound = self._margin * least_cut
        return found, least_cut

    def _cut(self, values_N: torch.Tensor, count: int) -> float:
        """The `count`-th largest positive value over all workers; 0 if there are not that many."""
        pooled_N = gather_values(values_N)
        return kernels_for(pooled_N.device).kth_largest(pooled_N, count)

    def _first_bound(self, keys: ApproximateKeys, preactivations: Preactivations) -> float:
        rows = pieces(preactivations)[0]
        k = min(self._k, keys.bias_F.numel())
        kernels = kernels_for(preactivations.x_BD.device)
        floors_B = kernels.row_floors(keys.rows(rows.start, rows.stop), keys.bias_F, k)
        return max(0.0, FIRST_BOUND * float(floors_B.median()))


def _candidates(keys: ApproximateKeys, preactivations: Preactivations, bound: float) -> _Candidates:
    kernels = kernels_for(preactivations.x_BD.device)

    def find(rows: slice) -> tuple[torch.Tensor, ...]:
        error_B = keys.error_B[rows]
        floors_B = keys.floors(torch.full_like(error_B, bound), error_B)
        counts_B, latents_N, keys_N = kernels.collect_above(
            keys.rows(rows.start, rows.stop), keys.bias_F, floors_B
        )
        error_N = torch.repeat_interleave(error_B, counts_B, output_size=latents_N.numel())
        return counts_B, latents_N, keys.at_least(keys_N, error_N), keys.at_most(keys_N, error_N)

    parts = on_pieces(find, pieces(preactivations), preactivations.x_BD.device)
    counts_B, *columns = (torch.cat(column) for column in zip(*parts, strict=True))
    return _Candidates(offsets_of(counts_B), *columns)


def _any_worker(fault: bool, device: torch.device) -> bool:
    return bool(sum_over_workers(torch.tensor([int(fault)], device=device)) > 0)
