"""Arrays on huge pages behave as any other."""

import pytest
import torch

from thresher.latents.kernels.memory import empty


@pytest.mark.parametrize("shape", [(3,), (0, 7), (1500, 1024), (2048, 3, 700)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_arrays_are_whole_and_apart(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    one, other = empty(*shape, dtype=dtype).fill_(1), empty(*shape, dtype=dtype).fill_(2)
    assert one.shape == other.shape == shape
    assert one.dtype == dtype
    assert one.is_contiguous()
    assert (one == 1).all()
    assert (other == 2).all()
