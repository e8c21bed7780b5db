"""The state of every dictionary of a night, from stored artifacts alone."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from thresher.contracts.errors import ThresherError
from thresher.labeling.nightly.needs import DictionaryNeeds, Need, needs_of, target_features
from thresher.labeling.nightly.spec import NightlySpec
from thresher.labeling.standings.dictionaries import DictionaryState, read_dictionaries
from thresher.labeling.standings.standing import Standing, Standings, read_standings
from thresher.storage import ObjectStore

StandingKey = tuple[str, int]
"""Dictionary and feature."""


@dataclass(frozen=True)
class Survey:
    """What stands and what is needed. A dictionary that cannot be read is left out, with what is wrong with it."""

    standings: dict[StandingKey, Standing]
    dictionaries: tuple[DictionaryNeeds, ...]
    faults: dict[str, str]
    """By dictionary."""

    @property
    def needs(self) -> list[Need]:
        return [need for item in self.dictionaries for need in item.needs]

    def num_by_kind(self) -> dict[str, int]:
        return dict(sorted(Counter(str(need.kind) for need in self.needs).items()))


def survey(store: ObjectStore, spec: NightlySpec, without_runs: Collection[str] = ()) -> Survey:
    """Look at every dictionary that the spec names.

    Args:
        without_runs: runs to look past, as those of the night itself: how it was before.
    """
    standings: dict[StandingKey, Standing] = {}
    needed, faults = [], {}
    for dictionary in read_dictionaries(store, spec.dictionaries):
        try:
            before = dictionary.without(without_runs)
            found = read_standings(store, before, spec.thresholds.score_types)
            needed += _needs(store, spec, before, found)
        except (ThresherError, OSError, ValueError) as error:  # so Arrow says that a file is damaged
            faults[dictionary.reference] = f"{type(error).__name__}: {error}"
            continue
        standings |= {(dictionary.reference, item.feature): item for item in found.by_feature.values()}
    return Survey(standings, tuple(needed), faults)


def _needs(
    store: ObjectStore, spec: NightlySpec, dictionary: DictionaryState, standings: Standings
) -> list[DictionaryNeeds]:
    target = target_features(dictionary, standings, spec.corpus)
    return [] if target is None else [needs_of(store, dictionary, standings, target, spec.thresholds)]
