"""How near the decoder rows of a dictionary lie to each other: copies of one latent show near 1.

Shape suffixes: F latents, E width of a decoder row, M and N latents of a block, K nearest latents.
"""

import torch
from torch.nn import functional

BLOCK_ENTRIES = 1 << 24  # of a block of cosines: 64 MiB of float32


def largest_cosines(W_dec_FE: torch.Tensor, block_entries: int = BLOCK_ENTRIES) -> torch.Tensor:
    """cosine_F: of each latent, the largest |cosine| of its decoder row with another's; 0 for rows of norm 0.

    The cosines are computed in square blocks, each pair of blocks once, and never held all at once.
    """
    unit_FE = functional.normalize(W_dec_FE.detach().float(), dim=1)
    largest_F = unit_FE.new_zeros(len(unit_FE))
    size = max(1, int(block_entries**0.5))
    for first in range(0, len(unit_FE), size):
        rows_ME = unit_FE[first : first + size]
        for start in range(first, len(unit_FE), size):
            cosine_MN = (rows_ME @ unit_FE[start : start + size].T).abs_()
            if start == first:
                cosine_MN.fill_diagonal_(0)
            _raise_to(largest_F[first : first + size], cosine_MN.amax(dim=1))
            _raise_to(largest_F[start : start + size], cosine_MN.amax(dim=0))
    return largest_F.clamp_(max=1)


def nearest_rows(W_dec_FE: torch.Tensor, count: int, block_entries: int = BLOCK_ENTRIES) -> torch.Tensor:
    """latents_FK (int32): of each latent, those with the decoder rows of largest cosine, the nearest first.

    Signed: a latent that writes the opposite is not near. -1 where there are no more. Blocks of rows are
    compared with all, so that the cosines are never held all at once.
    """
    unit_FE = functional.normalize(W_dec_FE.detach().float(), dim=1)
    num_latents = len(unit_FE)
    nearest_FK = torch.full((num_latents, count), -1, dtype=torch.int32)
    kept = min(count, num_latents - 1)
    size = max(1, block_entries // num_latents)
    for first in range(0, num_latents, size):
        cosine_MF = unit_FE[first : first + size] @ unit_FE.T
        rows_M = torch.arange(len(cosine_MF))
        cosine_MF[rows_M, first + rows_M] = -torch.inf
        nearest_FK[first : first + size, :kept] = cosine_MF.topk(kept, dim=1).indices.int()
    return nearest_FK


def _raise_to(largest_M: torch.Tensor, found_M: torch.Tensor) -> None:
    torch.maximum(largest_M, found_M, out=largest_M)
