"""The first pass over a harvest: statistics of every latent, and which windows may exemplify it in each split."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from thresher.activations.codes_reader import CodesReader, CodesShard
from thresher.activations.priority import UInt64s, priority
from thresher.contracts.exemplars import EXEMPLAR_SPLITS, ExemplarSplit
from thresher.contracts.manifests import SplitRange
from thresher.features.best_windows import best_of, none_kept
from thresher.features.candidates import sample_size, with_spare
from thresher.features.cofiring import CofiringSample
from thresher.features.loops import offer_windows
from thresher.features.pool import WindowPool, windows_of
from thresher.features.spec import FeatureOptions
from thresher.features.splits import SplitDeal, hash_documents
from thresher.features.statistics import LatentStatistics
from thresher.features.windows import WindowGrid, WindowPeaks
from thresher.runtime.progress import Meter


@dataclass(frozen=True)
class SplitSurvey:
    """What the first pass keeps of one split."""

    top: WindowPeaks
    """The strongest windows of each latent, sorted by latent, the strongest first."""
    sample: WindowPeaks
    """Windows drawn uniformly among those in which each latent fires, sorted by latent."""
    pool: WindowPeaks
    """Windows drawn uniformly among all; latent and peak are meaningless."""
    num_documents: npt.NDArray[np.int64]
    """[F]: documents that hold a window's peak, counted up to the size of the sample."""


@dataclass(frozen=True)
class Survey:
    """What the first pass finds. Memory grows with latents x windows kept, never with tokens."""

    statistics: LatentStatistics
    cofiring_FM: npt.NDArray[np.int32]
    """The latents that fire most often with each."""
    splits: dict[ExemplarSplit, SplitSurvey]


class SplitSampler:
    """Keeps the windows of one split over a stream of shards."""

    def __init__(
        self, split: ExemplarSplit, spec: FeatureOptions, state_F: UInt64s, grid: WindowGrid
    ) -> None:
        self._split, self._state_F, self._grid = EXEMPLAR_SPLITS.index(split), state_F, grid
        self._top = none_kept(len(state_F), with_spare(spec.top_exemplars))
        self._sample = none_kept(len(state_F), sample_size(spec))
        self._pool = WindowPool(spec.seed)

    def add(self, shard: CodesShard, hashes: UInt64s, split_SW: npt.NDArray[np.int8]) -> None:
        """Offer the windows of a shard that belong to the split."""
        offset, window = (index.astype(np.int32) for index in np.nonzero(split_SW == self._split))
        sequence = (shard.first_sequence + offset).astype(np.int32)
        self._pool.add(windows_of(shard, hashes, self._grid, sequence, window))
        offer_windows(
            shard.row_offsets,
            shard.latents,
            shard.values,
            shard.values.view(np.uint32),
            shard.documents,
            hashes,
            shard.rows_of(sequence, self._grid.starts[window]),
            sequence,
            window,
            self._grid.length,
            shard.sequence_length,
            self._state_F,
            self._top,
            self._sample,
        )

    def finish(self) -> SplitSurvey:
        sample, _ = best_of(self._sample)
        num_documents = np.bincount(sample["latent"], minlength=len(self._state_F))
        return SplitSurvey(best_of(self._top)[0], sample, self._pool.best(), num_documents)


def survey(
    reader: CodesReader, spec: FeatureOptions, grid: WindowGrid, ranges: list[SplitRange], meter: Meter
) -> Survey:
    """Read every shard once."""
    state_F = priority(spec.seed, np.arange(reader.num_latents))
    statistics = LatentStatistics(reader.num_latents)
    cofiring = CofiringSample(reader.num_latents, state_F)
    deal = SplitDeal(ranges, spec.split_shares, spec.seed)
    samplers = {split: SplitSampler(split, spec, state_F, grid) for split in EXEMPLAR_SPLITS}
    for shard in read_ahead(reader):
        counted_R = np.arange(shard.num_rows) % shard.sequence_length >= spec.min_position
        statistics.add(shard, counted_R)
        cofiring.add(shard, counted_R)
        hashes = hash_documents(shard.doc_ids)
        split_SW = deal.of_windows(shard, hashes, grid)
        for sampler in samplers.values():
            sampler.add(shard, hashes, split_SW)
        meter.advance(shard.num_rows)
    return Survey(
        statistics,
        cofiring.neighbours(statistics.num_active, spec.neighbours),
        {split: sampler.finish() for split, sampler in samplers.items()},
    )


def read_ahead(reader: CodesReader) -> Iterator[CodesShard]:
    """Every shard in order; the next one is read and checked while one is worked on."""
    with ThreadPoolExecutor(1, thread_name_prefix="codes") as thread:
        coming = [thread.submit(reader.read, index) for index in range(min(1, len(reader)))]
        for index in range(len(reader)):
            shard = coming.pop().result()
            if index + 1 < len(reader):
                coming.append(thread.submit(reader.read, index + 1))
            yield shard
