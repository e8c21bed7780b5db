"""Which windows exemplify a feature: the strongest, a sample over the range of activation, some without it.

Explain and report are sampled apart. Nothing here holds tokens: see materialise.py.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from thresher.activations.codes_reader import CodesShard
from thresher.activations.priority import priority
from thresher.contracts.manifests import SplitName, SplitRange
from thresher.features.best_windows import BestWindows, at_random, rank_in_group, strongest_first
from thresher.features.spec import FeaturesSpec
from thresher.features.windows import WINDOW_PEAK, WindowGrid, WindowPeaks, find_peaks

ExemplarKind = Literal["top", "quantile", "negative"]
KINDS: tuple[ExemplarKind, ...] = ("top", "quantile", "negative")
EXEMPLAR_SPLITS: tuple[SplitName, ...] = ("explain", "report")

RESERVOIR_FACTOR = 4
"""Windows sampled for each one that is shown: the strata are cut from the larger sample."""
POOL_FACTOR = 16
"""Windows in the pool for each negative: a latent silent in one window of 16 still finds them all."""

CHOSEN = np.dtype(
    [
        ("feature", np.int32),
        ("split", np.int8),  # index into EXEMPLAR_SPLITS
        ("kind", np.int8),  # index into KINDS
        ("rank", np.int32),
        ("quantile", np.int32),  # -1 unless the kind is quantile
        ("sequence", np.int32),
        ("window", np.int32),
        ("position", np.int32),  # of the peak; of the first token for a negative
        ("peak", np.float32),
    ]
)
Chosen = npt.NDArray[np.void]


@dataclass(frozen=True)
class SplitChoice:
    """What was chosen in one split."""

    active: Chosen
    """Top and quantile exemplars, sorted by (feature, kind, rank)."""
    pool: WindowPeaks
    """Windows that negatives are picked from; latent and peak are meaningless."""
    num_documents: npt.NDArray[np.int64]
    """[F]: documents that hold a window's peak, counted up to the size of the reservoir."""


class SplitSampler:
    """Chooses the windows of one split over a stream of shards."""

    def __init__(self, split: SplitRange, spec: FeaturesSpec, num_latents: int, grid: WindowGrid) -> None:
        self._split, self._spec, self._num_latents, self._grid = split, spec, num_latents, grid
        reservoir = max(RESERVOIR_FACTOR * spec.quantile_exemplars, spec.too_rare_below)
        self._top = BestWindows(num_latents, spec.top_exemplars)
        self._reservoir = BestWindows(num_latents, reservoir)
        self._pool = BestWindows(1, POOL_FACTOR * spec.negatives)

    def add(self, peaks: WindowPeaks, windows: WindowPeaks) -> None:
        """Offer a shard's peaks and all of its windows; those of other splits are passed over."""
        peaks, windows = self._own(peaks), self._own(windows)
        self._top.add(peaks, strongest_first(peaks, self._spec.seed))
        self._reservoir.add(peaks, at_random(peaks, self._spec.seed))
        self._pool.add(windows, at_random(windows, self._spec.seed))

    def choose(self) -> SplitChoice:
        reservoir = self._reservoir.best()
        top = _chosen(self._top.best(), "top", self._split.split)
        quantile = stratify(reservoir, self._spec, self._split.split)
        active = np.concatenate([top, quantile])
        return SplitChoice(
            active=active[np.lexsort((active["rank"], active["kind"], active["feature"]))],
            pool=self._pool.best(),
            num_documents=np.bincount(reservoir["latent"], minlength=self._num_latents),
        )

    def _own(self, peaks: WindowPeaks) -> WindowPeaks:
        return peaks[(peaks["sequence"] >= self._split.start) & (peaks["sequence"] < self._split.stop)]


def stratify(reservoir: WindowPeaks, spec: FeaturesSpec, split: SplitName) -> Chosen:
    """Cut each latent's sample into `quantiles` strata of equal size by peak; take as many windows of each.

    The quantile of a window is that of its peak among the windows in which the latent fires.
    """
    order = at_random(reservoir, spec.seed)
    reservoir = reservoir[np.lexsort((order, reservoir["peak"], reservoir["latent"]))]
    num_windows = np.bincount(reservoir["latent"])[reservoir["latent"]]
    quantile = rank_in_group(reservoir["latent"]) * spec.quantiles // np.maximum(num_windows, 1)
    stratum = reservoir["latent"].astype(np.int64) * spec.quantiles + quantile
    by_stratum = np.lexsort((at_random(reservoir, spec.seed), stratum))
    taken = by_stratum[rank_in_group(stratum[by_stratum]) < spec.quantile_exemplars // spec.quantiles]
    peaks, quantile = reservoir[taken], quantile[taken]
    by_peak = np.lexsort((strongest_first(peaks, spec.seed), peaks["latent"]))
    chosen = _chosen(peaks[by_peak], "quantile", split)
    chosen["quantile"] = quantile[by_peak]
    return chosen


def choose_negatives(
    choice: SplitChoice,
    split: SplitName,
    fires_PF: npt.NDArray[np.bool_],
    features: range,
    spec: FeaturesSpec,
) -> Chosen:
    """For each of `features`, `negatives` random windows of the pool in which it never fires.

    fires_PF says for each window of the pool which latents fire in it. Features that fire in nearly every
    window have fewer negatives.
    """
    pool, latents = choice.pool, np.arange(features.start, features.stop)
    order_PF = priority(spec.seed, latents, pool["sequence"][:, None], pool["window"][:, None])
    silent_PF = ~fires_PF[:, features.start : features.stop]
    by_order_PF = np.lexsort((order_PF, ~silent_PF), axis=0)
    taken_PF = by_order_PF[: spec.negatives]
    rank, column = np.nonzero(np.take_along_axis(silent_PF, taken_PF, axis=0))
    windows = pool[taken_PF[rank, column]].copy()
    windows["latent"] = latents[column]
    by_feature = np.lexsort((rank, column))
    return _chosen(windows[by_feature], "negative", split)


def all_windows(shard: CodesShard, documents: npt.NDArray[np.uint64], grid: WindowGrid) -> WindowPeaks:
    """Every window of a shard, as a candidate of latent 0 whose position is the window's first."""
    sequence, window = np.divmod(np.arange(shard.num_sequences * grid.num_windows), grid.num_windows)
    windows = np.zeros(len(sequence), WINDOW_PEAK)
    windows["sequence"], windows["window"] = shard.first_sequence + sequence, window
    windows["position"] = grid.starts[window]
    rows = shard.rows_of(windows["sequence"], windows["position"])
    windows["document"] = documents[shard.documents[rows]]
    return windows


def hash_documents(doc_ids: list[str]) -> npt.NDArray[np.uint64]:
    """64-bit hashes, so that documents can be told apart across shards without holding their ids."""
    digests = b"".join(hashlib.blake2b(doc_id.encode(), digest_size=8).digest() for doc_id in doc_ids)
    return np.frombuffer(digests, np.uint64)


def offer_shard(samplers: list[SplitSampler], shard: CodesShard, grid: WindowGrid) -> None:
    """Find a shard's windows and let every split's sampler have its own."""
    documents = hash_documents(shard.doc_ids)
    peaks, windows = find_peaks(shard, documents, grid), all_windows(shard, documents, grid)
    for sampler in samplers:
        sampler.add(peaks, windows)


def _chosen(peaks: WindowPeaks, kind: ExemplarKind, split: SplitName) -> Chosen:
    """Number windows that are sorted by (latent, rank)."""
    chosen = np.empty(len(peaks), CHOSEN)
    chosen["feature"] = peaks["latent"]
    chosen["split"], chosen["kind"] = EXEMPLAR_SPLITS.index(split), KINDS.index(kind)
    chosen["rank"], chosen["quantile"] = rank_in_group(peaks["latent"]), -1
    for field in ("sequence", "window", "position"):
        chosen[field] = peaks[field]
    chosen["peak"] = 0 if kind == "negative" else peaks["peak"]
    return chosen
