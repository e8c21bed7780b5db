"""How long a vector is among the rows of a site.

Shape suffixes: B sequences of a batch, L tokens, D width of the site.
"""

from collections.abc import Sequence

import torch
from torch import nn


def unit_vector(vector_D: torch.Tensor) -> torch.Tensor:
    """direction_D, float32."""
    return nn.functional.normalize(vector_D.float(), dim=0)


def typical_length(x_BLD: torch.Tensor, left_out: Sequence[int]) -> torch.Tensor:
    """Mean length of the rows but for the positions left out.

    The first position is always to be left out: it is an attention sink, and far longer than any other.
    """
    is_counted_L = torch.ones(x_BLD.shape[1], dtype=torch.bool)
    is_counted_L[list(left_out)] = False
    length: torch.Tensor = x_BLD[:, is_counted_L].norm(dim=-1).mean()
    return length
