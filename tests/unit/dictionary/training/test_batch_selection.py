"""BatchTopK's selection.

Shape suffixes: B rows, F latents.
"""

import pytest
import torch

from thresher.dictionary.training.batch_selection import BatchTopKSelector
from thresher.latents.kernels import Preactivations


@pytest.mark.parametrize("shrink", [1.0, 0.99, 0.01, -1.0], ids=["same", "near", "far", "none positive"])
def test_selection_is_exact_whatever_the_last_batch_was(shrink: float) -> None:
    generator = torch.Generator().manual_seed(2)
    selector = BatchTopKSelector(k=3)
    for scale in (1.0, shrink, 5.0, shrink):
        z_BF = scale * torch.randn(40, 50, generator=generator).abs().contiguous()
        codes = selector.select(Preactivations(z_BF, torch.eye(50), torch.zeros(50)), 40)
        expected = z_BF.relu().flatten().topk(120).indices.sort().values
        expected = expected[z_BF.flatten()[expected] > 0]
        assert torch.equal(codes.row_of_code() * 50 + codes.latents, expected)
        assert torch.equal(codes.values, z_BF.flatten()[expected])
