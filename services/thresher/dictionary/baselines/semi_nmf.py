"""Semi-nonnegative matrix factorisation as a dictionary (Ding, Li and Jordan 2010, section 3).

Shape suffixes: N rows, D width of the activations, F latents.
"""

from collections.abc import Iterable

import torch

from thresher.dictionary.baselines.common import chunks_of
from thresher.dictionary.baselines.spec import SemiNmfSpec
from thresher.latents.encoder import SparseEncoder

INITIAL_CODE = 0.2
"""Added to the indicators of clusters that codes begin as (ibid., section 3.1)."""
RIDGE = 1e-6
"""Added to the diagonals of matrices that are inverted, as a share of their mean."""
SMALLEST = 1e-12


@torch.no_grad()
def fit_semi_nmf(spec: SemiNmfSpec, batches: Iterable[torch.Tensor], seed: int) -> SparseEncoder:
    """Factorise all rows, centred, and fit the linear map that encodes others."""
    x_ND = torch.cat(list(chunks_of(batches, spec.num_latents)))
    mean_D = x_ND.mean(dim=0)
    x_ND = x_ND - mean_D
    G_NF, W_FD = factorise(x_ND, spec.num_latents, spec.num_iterations, seed)
    ones_N1 = torch.ones(len(x_ND), 1)
    encoder = ridge_regression(torch.cat([x_ND, ones_N1], dim=1), G_NF)
    norms_F = W_FD.norm(dim=1).clamp(min=SMALLEST)
    return SparseEncoder(
        W_enc_DF=(encoder[:-1] * norms_F).contiguous(),
        b_enc_F=encoder[-1] * norms_F,
        W_dec_FE=W_FD / norms_F.unsqueeze(1),
        b_dec_E=mean_D,
        threshold_F=torch.zeros(spec.num_latents),
    )


def factorise(
    x_ND: torch.Tensor, num_latents: int, num_iterations: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """G_NF, not negative, and W_FD, of any sign, with G W close to x.

    Each iteration finds the best W for G (ibid., eq. 9) and multiplies G so that the error does not grow (eq. 10).
    """
    G_NF = _cluster_indicators(x_ND, num_latents, seed) + INITIAL_CODE
    for _ in range(num_iterations):
        W_FD = ridge_regression(G_NF, x_ND)
        cross_NF, gram_FF = x_ND @ W_FD.T, W_FD @ W_FD.T
        up_NF = cross_NF.relu() + G_NF @ (-gram_FF).relu()
        down_NF = (-cross_NF).relu() + G_NF @ gram_FF.relu()
        G_NF = G_NF * (up_NF / down_NF.clamp(min=SMALLEST)).sqrt()
    return G_NF, ridge_regression(G_NF, x_ND)


def ridge_regression(a_NF: torch.Tensor, b_ND: torch.Tensor) -> torch.Tensor:
    """w_FD with a w close to b, in float64."""
    a_NF, b_ND = a_NF.double(), b_ND.double()
    gram_FF = a_NF.T @ a_NF
    gram_FF.diagonal().add_(RIDGE * gram_FF.diagonal().mean())
    w_FD: torch.Tensor = torch.linalg.solve(gram_FF, a_NF.T @ b_ND)
    return w_FD.float()


def _cluster_indicators(x_ND: torch.Tensor, num_latents: int, seed: int) -> torch.Tensor:
    from sklearn.cluster import MiniBatchKMeans  # takes a second

    labels_N = MiniBatchKMeans(num_latents, random_state=seed, n_init=1).fit_predict(x_ND.numpy())
    return torch.nn.functional.one_hot(torch.from_numpy(labels_N).long(), num_latents).float()
