"""Which windows may exemplify a feature, the best of each kind first; more than are shown, since some repeat others.

Shapes: E candidates, F latents, M neighbours of each, P windows of a pool, B features of a block.
"""

import numpy as np
import numpy.typing as npt

from thresher.activations.priority import UInt64s
from thresher.contracts.exemplars import (
    EXEMPLAR_KINDS,
    EXEMPLAR_SPLITS,
    ExemplarKind,
    ExemplarSplit,
)
from thresher.features.best_windows import LARGEST, at_random, rank_in_group
from thresher.features.spec import FeatureOptions
from thresher.features.text_nearness import DECIMALS
from thresher.features.windows import WindowGrid, WindowPeaks

SAMPLE_FACTOR = 4
"""Windows sampled for each quantile exemplar: the strata are cut from the larger sample."""
POOL_FACTOR = 16
"""Windows looked at for each negative: a latent silent in one window of 16 still finds them all."""
WINDOWS_OF_NEIGHBOUR = 5
"""Windows of each neighbour that hard negatives are looked for in."""
RANDOM_STREAM = 1 << 63
"""Seeds are below this: the order of random exemplars is another than that of the sample they are taken from."""

CANDIDATE = np.dtype(
    [
        ("feature", np.int32),
        ("split", np.int32),  # index into EXEMPLAR_SPLITS
        ("kind", np.int32),  # index into EXEMPLAR_KINDS
        ("rank", np.int32),  # within feature, split, kind and quantile, the best first
        ("quantile", np.int32),  # 0 unless the kind is quantile
        ("sequence", np.int32),
        ("window", np.int32),
        ("position", np.int32),  # of the peak; of the first token where the feature is silent
        ("peak", np.float32),
    ]
)
CandidateRows = npt.NDArray[np.void]


def with_spare(count: int) -> int:
    """Candidates for so many exemplars."""
    return count + (count + 1) // 2


def sample_size(spec: FeatureOptions) -> int:
    """Windows sampled of each latent and split."""
    return max(
        SAMPLE_FACTOR * spec.quantile_exemplars, with_spare(spec.random_exemplars), spec.too_rare_below
    )


def top_candidates(top: WindowPeaks, split: ExemplarSplit) -> CandidateRows:
    """From windows that are sorted by latent, the strongest first."""
    return candidate_rows(top, "top", split, rank_in_group(top["latent"]))


def random_candidates(sample: WindowPeaks, spec: FeatureOptions, split: ExemplarSplit) -> CandidateRows:
    """A uniform part of the uniform sample."""
    order = at_random(sample["latent"], sample, spec.seed ^ RANDOM_STREAM)
    sample = sample[np.lexsort((order, sample["latent"]))]
    rank = rank_in_group(sample["latent"])
    kept = rank < with_spare(spec.random_exemplars)
    return candidate_rows(sample[kept], "random", split, rank[kept])


def quantile_candidates(sample: WindowPeaks, spec: FeatureOptions, split: ExemplarSplit) -> CandidateRows:
    """Each latent's sample cut into `quantiles` strata of equal size by peak, in random order within one.

    The quantile of a window is that of its peak among the windows in which the latent fires.
    """
    order = at_random(sample["latent"], sample, spec.seed)
    by_peak = np.lexsort((order, sample["peak"], sample["latent"]))
    sample, order = sample[by_peak], order[by_peak]
    num_windows = np.bincount(sample["latent"])[sample["latent"]]
    quantile = rank_in_group(sample["latent"]) * spec.quantiles // np.maximum(num_windows, 1)
    stratum = sample["latent"].astype(np.int64) * spec.quantiles + quantile
    by_stratum = np.lexsort((order, stratum))
    rank = rank_in_group(stratum[by_stratum])
    kept = rank < with_spare(spec.quantile_exemplars // spec.quantiles)
    rows = candidate_rows(sample[by_stratum][kept], "quantile", split, rank[kept])
    rows["quantile"] = quantile[by_stratum][kept]
    return rows


def negative_candidates(
    pool: WindowPeaks,
    silent_PB: npt.NDArray[np.bool_],
    features: range,
    spec: FeatureOptions,
    split: ExemplarSplit,
) -> CandidateRows:
    """Random windows of the pool, one a document, in which each of `features` never fires."""
    _, first = np.unique(pool["document"], return_index=True)
    looked_at = np.sort(first)[: POOL_FACTOR * spec.negatives]
    windows = pool[looked_at]
    latents_B1 = np.arange(features.start, features.stop)[:, None]
    orders_BP = at_random(latents_B1, windows, spec.seed)
    best, rank, column = lowest_silent(orders_BP, silent_PB[looked_at], with_spare(spec.negatives))
    return _of_features(windows[best], features.start + column, "negative", split, rank)


def text_candidates(
    pool: WindowPeaks,
    cosines_BP: npt.NDArray[np.float64],
    silent_PB: npt.NDArray[np.bool_],
    features: range,
    spec: FeatureOptions,
    split: ExemplarSplit,
) -> CandidateRows:
    """Windows of the pool in which each of `features` never fires, the nearest text first."""
    distances_BP = np.rint((1 - cosines_BP) * 10**DECIMALS).astype(np.uint64)
    orders_BP = distances_BP * np.uint64(len(pool)) + np.arange(len(pool), dtype=np.uint64)
    best, rank, column = lowest_silent(orders_BP, silent_PB, with_spare(spec.hard_negatives))
    return _of_features(pool[best], features.start + column, "text_near", split, rank)


def lowest_silent(
    orders_BP: UInt64s, silent_PB: npt.NDArray[np.bool_], count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The `count` silent windows of lowest order of each feature: window, rank and feature of each, by feature.

    Orders of a feature differ.
    """
    orders_BP = np.where(silent_PB.T, orders_BP, LARGEST)
    if count < orders_BP.shape[1]:
        lowest = np.argpartition(orders_BP, count, axis=1)[:, :count]
    else:
        lowest = np.broadcast_to(np.arange(orders_BP.shape[1]), orders_BP.shape)
    kept = np.take_along_axis(orders_BP, lowest, axis=1)
    by_order = np.argsort(kept, axis=1)
    feature, rank = np.nonzero(np.take_along_axis(kept, by_order, axis=1) < LARGEST)
    return lowest[feature, by_order[feature, rank]], rank, feature


def neighbour_candidates(
    neighbours_FM: npt.NDArray[np.int32], firing: CandidateRows, kind: ExemplarKind, grid: WindowGrid
) -> CandidateRows:
    """Windows of each feature's neighbours, whether or not the feature fires there.

    The first window of every neighbour, nearest first, then the second of every one.

    Args:
        neighbours_FM: -1 where there are no more.
        firing: candidates of one kind and split, sorted by (feature, rank).
    """
    firing = firing[firing["rank"] < WINDOWS_OF_NEIGHBOUR]
    num_latents, num_neighbours = neighbours_FM.shape
    first_F = np.searchsorted(firing["feature"], np.arange(num_latents + 1))
    feature, neighbour_rank = np.nonzero(neighbours_FM >= 0)
    neighbour = neighbours_FM[feature, neighbour_rank]
    counts = first_F[neighbour + 1] - first_F[neighbour]
    owner = np.repeat(np.arange(len(neighbour)), counts)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows: CandidateRows = firing[first_F[neighbour[owner]] + place]
    rows["feature"], rows["kind"] = feature[owner], EXEMPLAR_KINDS.index(kind)
    rows["rank"], rows["quantile"] = place * num_neighbours + neighbour_rank[owner], 0
    rows["position"], rows["peak"] = grid.starts[rows["window"]], 0
    return rows


def _of_features(
    windows: WindowPeaks,
    features: npt.NDArray[np.int64],
    kind: ExemplarKind,
    split: ExemplarSplit,
    rank: npt.NDArray[np.int64],
) -> CandidateRows:
    rows = candidate_rows(windows, kind, split, rank)
    rows["feature"], rows["peak"] = features, 0
    return rows


def candidate_rows(
    peaks: WindowPeaks, kind: ExemplarKind, split: ExemplarSplit, rank: npt.NDArray[np.int64]
) -> CandidateRows:
    rows = np.zeros(len(peaks), CANDIDATE)
    rows["feature"], rows["rank"] = peaks["latent"], rank
    rows["split"], rows["kind"] = EXEMPLAR_SPLITS.index(split), EXEMPLAR_KINDS.index(kind)
    for field in ("sequence", "window", "position", "peak"):
        rows[field] = peaks[field]
    return rows
