"""Which features of a dictionary a run labels."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import FeaturesManifest
from thresher.contracts.states import State
from thresher.labeling.spec import SelectionSpec
from thresher.storage import ObjectStore
from thresher.storage.parquet import read_parquet
from thresher.storage.read_file import open_input

STATES = {str(state): state for state in State}


@dataclass(frozen=True, slots=True)
class SelectedFeature:
    feature: int
    state: State
    """As its statistics say: ok, dead or too_rare."""
    density: float
    """Share of rows on which it is active."""


def select_features(
    store: ObjectStore, manifest: FeaturesManifest, spec: SelectionSpec
) -> list[SelectedFeature]:
    """The features to label, ascending. A count is taken among those that fire often enough.

    Raises:
        SpecError: a listed feature is none of the dictionary's.
    """
    with open_input(store, manifest.stats.key) as file:
        stats = read_parquet(file, ["feature", "density", "state"])
    chosen, features_N = np.unique(_indices(stats, spec)), stats["feature"].to_numpy()
    order_N = np.argsort(features_N, kind="stable")
    rows = order_N[np.minimum(np.searchsorted(features_N[order_N], chosen), len(order_N) - 1)]
    unknown = [int(feature) for feature in chosen[features_N[rows] != chosen]]
    if unknown:
        raise SpecError(
            "features.selection",
            unknown[0],
            allowed=f"0 to {manifest.num_latents - 1}",
            mend="List features it has.",
        )
    found = stats.take(rows)
    columns = (found[name].to_pylist() for name in ("feature", "state", "density"))
    return [
        SelectedFeature(feature, STATES[state], density)
        for feature, state, density in zip(*columns, strict=True)
    ]


def _indices(stats: pa.Table, spec: SelectionSpec) -> list[int]:
    features, densities = stats["feature"].to_numpy(), stats["density"].to_numpy()
    if isinstance(spec.selection, list):
        return spec.selection
    if spec.count is None:
        return [int(feature) for feature in features]
    is_ok = np.array([state == State.OK for state in stats["state"].to_pylist()], bool)
    ranked = features[is_ok][np.lexsort([features[is_ok], -densities[is_ok]])]
    if spec.selection == "top_density" or len(ranked) <= spec.count:
        return [int(feature) for feature in ranked[: spec.count]]
    ranks = np.linspace(0, len(ranked) - 1, spec.count).round().astype(np.int64)
    return [int(feature) for feature in ranked[ranks]]
