"""What a dictionary is fitted to: rows to read, and the rows to reconstruct from them.

Shape suffixes: B rows, D width of the input, E width of the output.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class RowPairs:
    """Row i of the one belongs to row i of the other. Of autoencoders and crosscoders both are one tensor."""

    x_BD: torch.Tensor
    y_BE: torch.Tensor
