"""What a dictionary is fitted to: rows to read, and the rows to reconstruct from them.

Shape suffixes: B rows, D width of the input, E width of the output.
"""

from dataclasses import dataclass
from typing import Self

import torch


@dataclass(frozen=True)
class RowPairs:
    """Row i of the one belongs to row i of the other."""

    x_BD: torch.Tensor
    y_BE: torch.Tensor
    """The same tensor as x_BD where a dictionary reconstructs its input: objectives tell it by that."""

    @classmethod
    def of_rows(cls, x_BD: torch.Tensor) -> Self:
        """Rows that are reconstructed from themselves."""
        return cls(x_BD, x_BD)

    def to(self, device: torch.device) -> "RowPairs":
        """On a device; one tensor stays one."""
        x_BD = self.x_BD.to(device)
        return RowPairs(x_BD, x_BD if self.y_BE is self.x_BD else self.y_BE.to(device))
