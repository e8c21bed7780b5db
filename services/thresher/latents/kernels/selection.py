"""Which latents are active: chosen by a fast approximate GEMM, settled by exact float32 keys.

What is guaranteed: the codes chosen are those that would be, were every key computed as a float32 dot product (the
kernel's, in its fixed order), whatever the GEMM's type, blocking and number of threads. The GEMM only rules out what
its error bounds (keys.py) say cannot be chosen.

Shape suffixes: B rows, D width of the input, F latents, K codes, N candidates.
"""

import torch

from thresher.latents.kernels.codes import SparseCodes
from thresher.latents.kernels.dispatch import Kernels, kernels_for, on_pieces
from thresher.latents.kernels.keys import ApproximateKeys, Preactivations

PIECE_ENTRIES = 1 << 22
"""Keys of a piece, 8 MiB in bfloat16: few enough to stay in cache until they are read."""
PIECES_PER_THREAD = 4


@torch.no_grad()
def select_largest_of_rows(
    preactivations: Preactivations, k: int, among_N: torch.Tensor | None = None
) -> SparseCodes:
    """The k largest positive keys of each row; of equal ones the first latents.

    Args:
        preactivations: of the batch.
        k: codes a row, at most.
        among_N: ascending latents to choose from, such as dead ones; None is all.
    """
    if among_N is not None:
        codes = select_largest_of_rows(preactivations.of_latents(among_N), k)
        return SparseCodes(codes.row_offsets, among_N[codes.latents], codes.values)
    keys = ApproximateKeys(preactivations)
    kernels = kernels_for(preactivations.x_BD.device)
    num_candidates = min(k, keys.bias_F.numel())

    def choose(rows: slice) -> tuple[torch.Tensor, ...]:
        keys_BF, error_B = keys.rows(rows.start, rows.stop), keys.error_B[rows]
        # At least k exact keys of the row reach this; no other key matters, nor one that is not positive.
        cut_B = keys.at_least(kernels.row_floors(keys_BF, keys.bias_F, num_candidates), error_B).clamp(min=0)
        counts_B, latents_N, _ = kernels.collect_above(keys_BF, keys.bias_F, keys.floors(cut_B, error_B))
        offsets = offsets_of(counts_B)
        values_N = exact_values(kernels, preactivations, rows, offsets, latents_N)
        mask_N = kernels.largest_of_rows(offsets, weighted(preactivations, values_N, latents_N), k)
        return _masked(offsets, latents_N, values_N, mask_N)

    parts = on_pieces(choose, pieces(preactivations), preactivations.x_BD.device)
    return _joined(parts) if keys.finite else not_finite(preactivations)


@torch.no_grad()
def estimated_share_above(preactivations: Preactivations, threshold_F: torch.Tensor) -> float:
    """About which share of all entries select_above would return or have to look at, from some rows."""
    keys = ApproximateKeys(preactivations.of_rows(pieces(preactivations)[0]), threshold_F)
    floors_B = keys.floors(torch.zeros_like(keys.error_B), keys.error_B)
    keys_BF = keys.rows(0, floors_B.numel())
    kernels = kernels_for(keys_BF.device)
    counts_B, _, _ = kernels.collect_above(keys_BF, keys.bias_F, floors_B)
    return float(counts_B.sum()) / max(1, keys_BF.numel())


@torch.no_grad()
def select_above(preactivations: Preactivations, threshold_F: torch.Tensor) -> SparseCodes:
    """Every z above its latent's threshold; thresholds and values are not weighted."""
    assert preactivations.weights_F is None, "a threshold bounds z itself"
    keys = ApproximateKeys(preactivations, threshold_F)
    kernels = kernels_for(preactivations.x_BD.device)

    def choose(rows: slice) -> tuple[torch.Tensor, ...]:
        keys_BF, error_B = keys.rows(rows.start, rows.stop), keys.error_B[rows]
        floors_B = keys.floors(torch.zeros_like(error_B), error_B)
        counts_B, latents_N, _ = kernels.collect_above(keys_BF, keys.bias_F, floors_B)
        offsets = offsets_of(counts_B)
        values_N = exact_values(kernels, preactivations, rows, offsets, latents_N)
        return _masked(offsets, latents_N, values_N, values_N > threshold_F[latents_N])

    parts = on_pieces(choose, pieces(preactivations), preactivations.x_BD.device)
    return _joined(parts) if keys.finite else not_finite(preactivations)


def not_finite(preactivations: Preactivations) -> SparseCodes:
    """A code a row whose value is not a number, so that the loss is none, either."""
    num_rows = preactivations.x_BD.shape[0]
    offsets = torch.arange(num_rows + 1, device=preactivations.x_BD.device)
    return SparseCodes(
        offsets, torch.zeros_like(offsets[1:]), preactivations.x_BD.new_full((num_rows,), torch.nan)
    )


def exact_values(
    kernels: Kernels,
    preactivations: Preactivations,
    rows: slice,
    offsets: torch.Tensor,
    latents_N: torch.Tensor,
) -> torch.Tensor:
    """z of candidates of some rows, each a float32 dot product in the kernel's order."""
    W_enc_FD, b_enc_F = preactivations.W_enc_FD.detach(), preactivations.b_enc_F.detach()
    return kernels.dot_vectors(offsets, latents_N, preactivations.x_BD[rows], W_enc_FD).add_(
        b_enc_F[latents_N]
    )


def weighted(preactivations: Preactivations, values_N: torch.Tensor, latents_N: torch.Tensor) -> torch.Tensor:
    """Exact keys of candidates."""
    weights_F = preactivations.weights_F
    return values_N if weights_F is None else values_N * weights_F.detach()[latents_N]


def offsets_of(counts_B: torch.Tensor) -> torch.Tensor:
    return torch.cat([counts_B.new_zeros(1), counts_B.cumsum(0)])


def pieces(preactivations: Preactivations) -> list[slice]:
    """Of the rows: small enough for the cache, and enough of them for every thread."""
    num_rows, num_latents = preactivations.x_BD.shape[0], preactivations.W_enc_FD.shape[0]
    size = min(PIECE_ENTRIES // num_latents, -(-num_rows // (PIECES_PER_THREAD * torch.get_num_threads())))
    size = max(1, size)
    return [slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size)]


def counts_of_mask(offsets: torch.Tensor, mask_N: torch.Tensor) -> torch.Tensor:
    """counts_B of what is marked."""
    return offsets_of(mask_N.to(torch.int64))[offsets].diff()


def _masked(
    offsets: torch.Tensor, latents_N: torch.Tensor, values_N: torch.Tensor, mask_N: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    return counts_of_mask(offsets, mask_N), latents_N[mask_N], values_N[mask_N]


def _joined(parts: list[tuple[torch.Tensor, ...]]) -> SparseCodes:
    counts_B, latents_K, values_K = (torch.cat(column) for column in zip(*parts, strict=True))
    return SparseCodes(offsets_of(counts_B), latents_K, values_K)
