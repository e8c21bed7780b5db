"""Labels of features and their scores."""

from typing import Any

from thresher.contracts.manifests.harvest import DictionaryRef
from thresher.contracts.manifests.record import FileEntry, Record


class PurposeUsage(Record):
    """What one purpose took: explaining, or a score type. Each distinct request counts once."""

    num_calls: int
    num_calls_paid: int
    """Asked by this run; the others were answered to earlier runs."""
    num_prompt_tokens: int
    num_completion_tokens: int
    num_cached_tokens: int
    """Of the prompt tokens: in the server's prefix cache, where it says so."""
    cost: float | None
    """In the manifest's currency, whoever paid; null without a price."""


class LabelManifest(Record):
    run_id: str
    spec: dict[str, Any]
    dictionary: DictionaryRef
    corpus_id: str
    features_id: str
    num_features: int
    states: dict[str, int]
    """Number of labels in each state."""
    mean_scores: dict[str, float]
    """Mean by score type, and by `{score type}.shuffled` for the baseline."""
    simulator_digit_mass: float | None = None
    """Mean probability the simulator put on digits where one was due: how well it kept to the format."""
    num_calls: int
    num_prompt_tokens: int
    num_completion_tokens: int
    usage: dict[str, PurposeUsage] = {}
    """By purpose: explain, and the score types."""
    cost: float | None = None
    """Of all requests, also of those that earlier runs paid for; null without a price."""
    currency: str = "USD"
    capabilities: dict[str, dict[str, Any]] = {}
    """What the probe found each endpoint able to do, by role: explainer, scorer."""
    labels: list[FileEntry]
    scores: list[FileEntry]
    responses: list[FileEntry]
    code_version: str
