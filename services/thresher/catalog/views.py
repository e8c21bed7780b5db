"""What the catalog answers with: plain values, ready for a page or for JSON."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Score:
    """One score of a label. Scores of different types or scorers are never pooled."""

    score_type: str
    shuffled: bool
    """The text is another feature's: the baseline that a label must score above to be worth anything."""
    scorer_model: str
    scorer_revision: str
    qualified: bool | None
    """Whether the scorer told planted features' true labels from false ones; None if that was never tried."""
    value: float | None
    ci_low: float | None
    ci_high: float | None
    ci_method: str
    lift: float | None
    """The value less the mean of shuffled labels' on the same contexts."""
    lift_low: float | None
    lift_high: float | None
    state: str
    n: int
    n_unparsed: int


@dataclass(frozen=True)
class Label:
    run_id: str
    label_id: str
    text: str | None
    state: str
    method: str
    explainer_model: str
    explainer_revision: str
    created_at: datetime
    scores: tuple[Score, ...]
    """Of this text on its own feature, and of the run's baselines on the same contexts."""


@dataclass(frozen=True)
class Feature:
    """A latent, its statistics, and its current label if it has any."""

    dictionary: str
    """name@version."""
    features_id: str
    feature: int
    state: str
    """ok, dead or too_rare: by the statistics."""
    num_active: int
    density: float
    """Share of rows on which the latent is active."""
    mean: float
    max: float
    histogram: tuple[int, ...]
    top_tokens: tuple[str, ...]
    label: Label | None


@dataclass(frozen=True)
class FeatureHistory:
    """A feature and every label it ever had."""

    feature: Feature
    labels: tuple[Label, ...]
    """Newest first, retracted ones among them."""
    retracted: dict[tuple[str, str], str]
    """Reason by run_id and label_id."""


@dataclass(frozen=True)
class Page:
    """Some of the features that were asked for."""

    total: int
    """How many there are in all."""
    features: tuple[Feature, ...]


@dataclass(frozen=True)
class FeatureSet:
    """The statistics of a dictionary over one corpus."""

    features_id: str
    dictionary: str
    corpus_id: str
    harvest_id: str
    site: str
    num_rows: dict[str, int]
    histogram_edges: list[float]
    """Shared by the histograms of all its features."""


@dataclass(frozen=True)
class Dictionary:
    dictionary: str
    """name@version."""
    architecture: str
    site: str
    d_in: int
    num_latents: int
    metrics: dict[str, Any]
    """contracts.manifests.ReconstructionMetrics."""
    num_labelled: int
    """Features whose current label came out well."""
    feature_sets: tuple[FeatureSet, ...]


@dataclass(frozen=True)
class LabelRun:
    run_id: str
    dictionary: str
    features_id: str
    corpus_id: str
    num_features: int
    states: dict[str, int]
    """Number of labels in each state."""
    mean_scores: dict[str, float]
    num_calls: int
    num_prompt_tokens: int
    num_completion_tokens: int
    newest_label_at: datetime | None


@dataclass(frozen=True)
class Release:
    release_id: str
    name: str
    version: str
    num_files: int
    num_bytes: int
    lineage: dict[str, str]
