"""Sparse codes: the active latents of a batch of rows.

Shape suffixes: B rows, F latents, K codes over all rows.
"""

from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class LatentOrder:
    """The codes of a batch sorted by latent, rows ascending within one; all int64.

    Latent f's codes lie at `starts[f]:starts[f + 1]` of the other two.
    """

    starts: torch.Tensor
    code_K: torch.Tensor
    """Where each code lies in the order of rows."""
    row_K: torch.Tensor
    """Which row each code belongs to."""


@dataclass(frozen=True)
class SparseCodes:
    """Active latents of a batch of rows, in compressed sparse row form, all int64 and float32.

    Row b's codes lie at `row_offsets[b]:row_offsets[b + 1]` of `latents` (ascending) and `values` (positive).
    """

    row_offsets: torch.Tensor
    latents: torch.Tensor
    values: torch.Tensor
    orders: dict[int, LatentOrder] = field(default_factory=dict, repr=False, compare=False, kw_only=True)
    """By number of latents, filled when first needed: codes that differ in their values alone share it."""

    @property
    def num_rows(self) -> int:
        return self.row_offsets.numel() - 1

    def row_of_code(self) -> torch.Tensor:
        """rows_K: which row each code belongs to."""
        return torch.repeat_interleave(
            torch.arange(self.num_rows, device=self.latents.device),
            self.row_offsets.diff(),
            output_size=self.latents.numel(),
        )

    def with_values(self, values_K: torch.Tensor) -> "SparseCodes":
        return SparseCodes(self.row_offsets, self.latents, values_K, orders=self.orders)


def codes_above(z_BF: torch.Tensor, threshold: torch.Tensor | float) -> SparseCodes:
    """Entries of contiguous pre-activations that exceed a threshold (one, or one per latent)."""
    flat_K = torch.nonzero((z_BF > threshold).view(-1)).squeeze(1)
    return codes_at(z_BF, flat_K)


def codes_at(z_BF: torch.Tensor, flat_K: torch.Tensor) -> SparseCodes:
    """Entries of contiguous pre-activations at ascending flat indices."""
    num_rows, num_latents = z_BF.shape
    starts = torch.arange(num_rows + 1, device=z_BF.device) * num_latents
    return SparseCodes(
        row_offsets=torch.searchsorted(flat_K, starts),
        latents=flat_K % num_latents,
        values=z_BF.view(-1)[flat_K],
    )
