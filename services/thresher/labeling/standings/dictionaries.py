"""What the store holds of a dictionary that matters to its labels: features artifacts, label runs, retractions."""

import fnmatch
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from thresher.catalog.current import RETRACTION
from thresher.catalog.events import LabelEvent, stored_events
from thresher.contracts import paths
from thresher.contracts.manifests import FeaturesManifest, LabelManifest
from thresher.storage import ObjectStore
from thresher.storage.artifacts import read_record

LabelKey = tuple[str, str]
"""run_id and label_id."""


@dataclass(frozen=True)
class DictionaryState:
    """A dictionary that has features, with all its label runs."""

    reference: str
    """name@version."""
    features: tuple[FeaturesManifest, ...]
    runs: tuple[LabelManifest, ...]
    retracted: frozenset[LabelKey]

    def without(self, run_ids: Collection[str]) -> "DictionaryState":
        """As it was before some runs."""
        return replace(self, runs=tuple(run for run in self.runs if run.run_id not in run_ids))

    def features_over(self, corpus_id: str) -> FeaturesManifest | None:
        return next((item for item in self.features if item.corpus_id == corpus_id), None)


def read_dictionaries(store: ObjectStore, patterns: Sequence[str]) -> list[DictionaryState]:
    """Every dictionary with a features artifact whose name@version fits a pattern, by name.

    Raises:
        IntegrityError: a manifest is damaged.
    """
    features: defaultdict[str, list[FeaturesManifest]] = defaultdict(list)
    for key in _manifests(store, "features/"):
        _, name, version, _, _ = key.split("/")
        if any(fnmatch.fnmatchcase(f"{name}@{version}", pattern) for pattern in patterns):
            features[f"{name}@{version}"].append(read_record(store, key, FeaturesManifest))
    retracted = frozenset(
        (event.run_id, event.label_id)
        for event in stored_events(store)
        if isinstance(event, LabelEvent) and event.kind == RETRACTION
    )
    return [
        DictionaryState(reference, tuple(found), _runs(store, reference), retracted)
        for reference, found in sorted(features.items())
    ]


def _runs(store: ObjectStore, reference: str) -> tuple[LabelManifest, ...]:
    name, _, version = reference.partition("@")
    prefix = paths.label_run(name, version, "")
    return tuple(read_record(store, key, LabelManifest) for key in _manifests(store, prefix))


def _manifests(store: ObjectStore, prefix: str) -> list[str]:
    return [info.key for info in store.list(prefix) if info.key.endswith("/manifest.json")]
