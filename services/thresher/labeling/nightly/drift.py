"""Does a label still speak of the feature that it was made from?

A label is made from one features artifact. Where a newer one, over another corpus, shows the feature firing far more or
less often, or on other tokens, or where the dictionary's weights are not those that were labelled, the label is old.

Tokens speak only of a feature that fires on the same ones in two splits of one corpus. On the demo's dictionary (1,070
features that fire often enough) those are 56 %; of them 1.3 % seem to have drifted between two splits of one corpus,
and 86 % are told from another feature. Over all features 21 % would seem to have drifted.
"""

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from thresher.contracts.manifests import FeaturesManifest
from thresher.contracts.states import State
from thresher.labeling.nightly.spec import ThresholdSpec
from thresher.labeling.standings.standing import Standing
from thresher.storage import ObjectStore
from thresher.storage.parquet import read_parquet
from thresher.storage.read_file import open_input

NUM_TOKENS = 10


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
        rows = read_parquet(file, ["feature", "density", "state", "top_tokens"]).to_pylist()
    return {
        row["feature"]: FeatureProfile(
            row["feature"], row["density"], State(row["state"]), frozenset(_plain(row["top_tokens"]))
        )
        for row in rows
    }


def read_report_tokens(
    store: ObjectStore, manifest: FeaturesManifest, features: Collection[int]
) -> dict[int, frozenset[str]]:
    """As `top_tokens`, of the report split: by feature."""
    wanted = {"feature": features, "split": ["report"], "kind": ["top"]}
    found: defaultdict[int, dict[str, None]] = defaultdict(dict)
    for entry in manifest.exemplars:
        with open_input(store, entry.key) as file:
            columns = ["feature", "rank", "tokens", "activations"]
            table = read_parquet(file, columns, wanted)
        for row in table.sort_by([("feature", "ascending"), ("rank", "ascending")]).to_pylist():
            for text in _plain([row["tokens"][int(np.argmax(row["activations"]))]]):
                found[row["feature"]].setdefault(text)
    return {feature: frozenset(list(tokens)[:NUM_TOKENS]) for feature, tokens in found.items()}


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
    report_tokens: Callable[[], frozenset[str]],
    thresholds: ThresholdSpec,
) -> str | None:
    """What changed since the label was made, in words; None if nothing that matters.

    Args:
        standing: the label.
        target: the artifact that labels should be of now.
        before: the feature in the artifact that the label was made from; None if that artifact is gone.
        now: the feature in the target.
        report_tokens: gives its strongest tokens in the report split of the artifact that it was made from.
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
    if token_overlap(before.top_tokens, now.top_tokens) >= thresholds.min_token_overlap:
        return None
    others = report_tokens()
    if token_overlap(before.top_tokens, others) < thresholds.min_own_overlap:
        return None
    overlap = token_overlap(before.top_tokens | others, now.top_tokens)
    return (
        f"fires on other tokens (overlap {overlap:.2f})" if overlap < thresholds.min_token_overlap else None
    )


def _plain(tokens: list[str]) -> list[str]:
    return [text for token in tokens if (text := token.strip().casefold())]
