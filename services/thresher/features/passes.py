"""The two passes over a harvest: choose windows, then read what they show."""

from dataclasses import dataclass

import numpy as np

from thresher.activations.codes_reader import CodesReader, CodesShard
from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import SplitName, SplitRange
from thresher.features.exemplars import Chosen, SplitChoice, SplitSampler, choose_negatives, offer_shard
from thresher.features.materialise import PoolActivity, ShownActivations, ShownWindows
from thresher.features.spec import FeaturesSpec
from thresher.features.statistics import LatentStatistics
from thresher.features.windows import WindowGrid
from thresher.runtime.progress import Meter


@dataclass(frozen=True)
class Survey:
    """What the first pass finds."""

    statistics: LatentStatistics
    choices: dict[SplitName, SplitChoice]
    active: Chosen
    """Top and quantile exemplars of all splits, sorted by feature."""


def survey(
    reader: CodesReader, spec: FeaturesSpec, grid: WindowGrid, splits: list[SplitRange], meter: Meter
) -> Survey:
    """First pass: statistics of every latent, and which windows exemplify it in each of `splits`."""
    statistics = LatentStatistics(reader.num_latents)
    samplers = {split.split: SplitSampler(split, spec, reader.num_latents, grid) for split in splits}
    for shard in reader:
        _count(statistics, shard, spec.min_position)
        offer_shard(list(samplers.values()), shard, grid)
        meter.advance(shard.num_rows)
    choices = {name: sampler.choose() for name, sampler in samplers.items()}
    active = np.concatenate([choice.active for choice in choices.values()])
    return Survey(statistics, choices, active[np.argsort(active["feature"], kind="stable")])


def _count(statistics: LatentStatistics, shard: CodesShard, min_position: int) -> None:
    counted = shard.rows_of_codes() % shard.sequence_length >= min_position
    num_rows = shard.num_sequences * (shard.sequence_length - min_position)
    statistics.add(shard.latents[counted], shard.values[counted], num_rows)


class Shown:
    """What the chosen windows hold, from the second pass."""

    def __init__(self, found: Survey, spec: FeaturesSpec, grid: WindowGrid) -> None:
        self._found, self._spec = found, spec
        self.windows = ShownWindows([found.active, *(choice.pool for choice in found.choices.values())], grid)
        self.activations = ShownActivations(found.active, grid)
        self._activity = {
            name: PoolActivity(choice.pool, found.statistics.num_latents, grid)
            for name, choice in found.choices.items()
        }

    def read(self, reader: CodesReader, meter: Meter) -> None:
        """Second pass.

        Raises:
            IntegrityError: a document lies in two splits.
        """
        for shard in reader:
            self.windows.add(shard)
            self.activations.add(shard)
            for activity in self._activity.values():
                activity.add(shard)
            meter.advance(shard.num_rows)
        self._check_disjoint()

    def negatives(self, features: range) -> Chosen:
        """Negative exemplars of the features that are not dead, of all splits."""
        chosen: Chosen = np.concatenate(
            [
                choose_negatives(choice, name, self._activity[name].fires_PF, features, self._spec)
                for name, choice in self._found.choices.items()
            ]
        )
        is_alive = self._found.statistics.num_active[chosen["feature"]] > 0
        return np.compress(is_alive, chosen)

    def _check_disjoint(self) -> None:
        seen: set[str] = set()
        for choice in self._found.choices.values():
            documents = self.windows.documents(choice.active) | self.windows.documents(choice.pool)
            shared = seen & documents
            if shared:
                raise IntegrityError(
                    f"Document {min(shared)!r} lies in two splits, as do {len(shared) - 1} others. "
                    "Labels would be scored on what made them. Build the corpus and the harvest again."
                )
            seen |= documents
