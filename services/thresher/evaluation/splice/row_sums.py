"""The rows to be replaced, and how well they are reconstructed.

Shape suffixes: N rows, E width of a site.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch

from thresher.latents.kernels import SparseCodes
from thresher.latents.moments import PairMoments


@dataclass(frozen=True)
class RowSums:
    """Of the rows of one site."""

    moments: PairMoments
    num_codes: int

    @classmethod
    def of(cls, y_NE: torch.Tensor, y_hat_NE: torch.Tensor, codes: SparseCodes) -> Self:
        """Of a batch of any float type."""
        if not len(y_NE):
            return cls(PairMoments.of_none(y_NE.shape[1]), 0)
        return cls(PairMoments.of(y_NE.cpu().double(), y_hat_NE.cpu().double()), len(codes.latents))

    def merged(self, other: "RowSums") -> "RowSums":
        """Of the rows of both."""
        return RowSums(self.moments.merged(other.moments), self.num_codes + other.num_codes)

    @property
    def mean_E(self) -> torch.Tensor:
        """The mean row, float32."""
        return self.moments.mean_E.float()


@dataclass(frozen=True)
class ReplacedRows:
    """Of the rows of one site or several, side by side."""

    num_rows: int
    """A row of each site counts."""
    fvu: float
    l0: float

    @classmethod
    def of_sites(cls, sums: Sequence[RowSums]) -> Self:
        """Error and variance are pooled over the columns of all sites, L0 over their rows."""
        num_rows = sum(item.moments.num_rows for item in sums)
        deviation = sum(item.moments.deviation for item in sums)
        assert deviation > 0, "rows do not vary"
        return cls(
            num_rows=num_rows,
            fvu=sum(item.moments.error for item in sums) / deviation,
            l0=sum(item.num_codes for item in sums) / num_rows,
        )
