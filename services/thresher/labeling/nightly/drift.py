"""Does a label still speak of the feature that it was made from?

A label is made from one features artifact. Where a newer one, over another corpus, shows the feature firing far more or
less often, or on other tokens, or where the dictionary's weights are not those that were labelled, the label is old.
"""

from dataclasses import dataclass

import pyarrow.parquet as pq

from thresher.contracts.manifests import FeaturesManifest
from thresher.contracts.states import State
from thresher.labeling.nightly.spec import ThresholdSpec
from thresher.labeling.standings.standing import Standing
from thresher.storage import ObjectStore
from thresher.storage.read_file import open_input


@dataclass(frozen=True)
class FeatureProfile:
    """A feature's row of the statistics, as far as drift and value need it."""

    feature: int
    density: float
    state: State
    top_tokens: frozenset[str]
    """Distinct tokens at the peaks of its strongest exemplars, without case and space around."""


def read_profiles(store: ObjectStore, manifest: FeaturesManifest) -> dict[int, FeatureProfile]:
    """Every feature of an artifact."""
    with open_input(store, manifest.stats.key) as file:
        rows = pq.read_table(file, columns=["feature", "density", "state", "top_tokens"]).to_pylist()
    return {
        row["feature"]: FeatureProfile(
            row["feature"], row["density"], State(row["state"]), frozenset(_plain(row["top_tokens"]))
        )
        for row in rows
    }


def token_overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """Share of the smaller set that the other holds; 1 where either is empty and nothing can be said."""
    smaller = min(len(one), len(other))
    return len(one & other) / smaller if smaller else 1.0


def density_ratio(one: float, other: float) -> float:
    """How many times the larger is the smaller; infinite where one is zero."""
    smaller, larger = sorted((one, other))
    return 1.0 if larger == 0 else float("inf") if smaller == 0 else larger / smaller


def drift_of(
    standing: Standing,
    target: FeaturesManifest,
    before: FeatureProfile | None,
    now: FeatureProfile,
    thresholds: ThresholdSpec,
) -> str | None:
    """What changed since the label was made, in words; None if nothing that matters.

    Args:
        standing: the label.
        target: the artifact that labels should be of now.
        before: the feature in the artifact that the label was made from; None if that artifact is gone.
        now: the feature in the target.
        thresholds: what matters.
    """
    if standing.run.dictionary.weights_sha256 != target.dictionary.weights_sha256:
        return "the dictionary's weights are others"
    if standing.run.features_id == target.features_id:
        return None
    if before is None:
        return "the features artifact that it was made from is gone"
    ratio = density_ratio(before.density, now.density)
    if ratio > thresholds.max_density_ratio:
        return f"density {before.density:.2g} became {now.density:.2g}"
    overlap = token_overlap(before.top_tokens, now.top_tokens)
    if overlap < thresholds.min_token_overlap:
        return f"fires on other tokens (overlap {overlap:.2f})"
    return None


def _plain(tokens: list[str]) -> list[str]:
    return [text for token in tokens if (text := token.strip().casefold())]
