"""The threshold that turns BatchTopK, a rule over batches, into JumpReLU, a rule for single rows.

Shape suffixes: B rows, D width of the activations, F latents, N kept values.
"""

from collections.abc import Iterable

import torch

from thresher.latents.encoder import SparseEncoder


@torch.no_grad()
def calibrate_threshold(
    encoder: SparseEncoder, batches: Iterable[torch.Tensor], num_rows: int, k: int
) -> float:
    """The one threshold at which exactly k * num_rows codes are active over all batches x_BD together.

    It is the exact (k * num_rows + 1)-th largest pre-activation, pooled over rows and latents: a code is
    active where it is greater. A running mean of the batches' smallest selected values, as BatchTopK is
    usually saved with, is biased by its start and by the weights of earlier steps. 0 if there are not that
    many positive values.

    Memory is that of two batches of pre-activations and of twice the values kept.
    """
    keep = k * num_rows + 1
    kept_N = torch.empty(0)
    floor = 0.0
    for x_BD in batches:
        z_BF = encoder.preactivations(x_BD)
        kept_N = torch.cat([kept_N.to(z_BF.device), z_BF[z_BF > floor]])
        if kept_N.numel() > keep:
            kept_N = kept_N.topk(keep, sorted=False).values
            floor = float(kept_N.min())
    return float(kept_N.min()) if kept_N.numel() == keep else 0.0
