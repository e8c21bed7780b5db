"""What baselines share.

Shape suffixes: B rows of a batch, N rows, D width of the activations, F latents.
"""

from collections.abc import Iterable, Iterator

import torch

from thresher.contracts.errors import SpecError
from thresher.latents.encoder import SparseEncoder


def chunks_of(batches: Iterable[torch.Tensor], num_rows: int) -> Iterator[torch.Tensor]:
    """The same rows, in order, in chunks x_ND of at least that many; the last batches go with the last chunk.

    Raises:
        SpecError: there are fewer rows altogether.
    """
    waiting: list[torch.Tensor] = []
    ready: torch.Tensor | None = None
    for x_BD in batches:
        waiting.append(x_BD.float())
        if sum(map(len, waiting)) >= num_rows:
            if ready is not None:
                yield ready
            ready, waiting = torch.cat(waiting), []
    if ready is None:
        raise SpecError(
            "training.num_steps",
            sum(map(len, waiting)),
            allowed=f"{num_rows} rows or more",
            mend="There are fewer rows than latents: raise num_steps or batch_rows, or lower num_latents.",
        )
    yield torch.cat([ready, *waiting])


def projections(W_FD: torch.Tensor, mean_D: torch.Tensor, k: int | None) -> SparseEncoder:
    """The dictionary whose codes are positive projections of centred rows on unit directions: all, or the k largest."""
    zeros_F = torch.zeros(len(W_FD))
    return SparseEncoder(
        W_enc_DF=W_FD.T.float().contiguous(),
        b_enc_F=zeros_F,
        W_dec_FE=W_FD.float().contiguous(),
        b_dec_E=mean_D.float(),
        threshold_F=zeros_F.clone(),
        k=k,
    )
