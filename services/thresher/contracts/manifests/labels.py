"""Labels of features and their scores."""

from typing import Any

from pydantic import Field

from thresher.contracts.manifests.harvest import DictionaryRef
from thresher.contracts.manifests.record import FileEntry, Record


class LinearCalibration(Record):
    """activation = slope x prediction + intercept, both as shares of a feature's largest activation."""

    slope: float
    intercept: float
    num_tokens: int
    """Tokens of the calibrate split that it was fitted on, pooled over features."""


class PurposeUsage(Record):
    """What one purpose took: explaining, or a score type. Each distinct request counts once."""

    num_calls: int
    num_calls_paid: int
    """Asked by this run; the others were answered to earlier runs."""
    num_tokens_paid: int
    """Prompt and completion tokens of those."""
    num_prompt_tokens: int
    num_completion_tokens: int
    num_cached_tokens: int
    """Of the prompt tokens: in the server's prefix cache, where it says so."""
    cost: float | None
    """In the manifest's currency, whoever paid; null without a price."""


class Capabilities(Record):
    """What an endpoint was found able to do when the run began; None: the run did not need to know."""

    model: str
    root: str | None
    """What the server says it loaded under the model's name (vLLM does)."""
    max_model_len: int | None
    """Longest sequence in tokens, by its word or by its error; None if it tells neither."""
    max_prompt_logprobs: int | None = None
    """Most log-probabilities a prompt position, up to 100; 0 if it gives none."""
    max_logprobs: int | None = None
    """Most log-probabilities of a completion's token, up to 100; 0 if it gives none."""
    max_chat_logprobs: int | None = None
    """The same in a chat."""
    json_schema: bool | None = None
    """It keeps a chat's answer to a JSON schema."""
    json_object: bool | None = None
    """It keeps a chat's answer to JSON."""
    embeddings: bool | None = None
    """It embeds texts."""
    ten_is_one_token: bool
    """By the tokenizer: activations are simulated on levels 0 to 10, else 0 to 9."""
    reports_usage: bool | None = None
    """It counts tokens. Where it does not, each request counts as the most it can take."""


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
    calibrations: dict[str, LinearCalibration] = Field(default_factory=dict)
    """Of the simulators that were calibrated, by score type."""
    qualified: dict[str, bool | None] = Field(default_factory=dict)
    """By score type, whether the scorer told planted features' labels apart; null if it was never tried."""
    num_calls: int
    num_prompt_tokens: int
    num_completion_tokens: int
    usage: dict[str, PurposeUsage] = Field(default_factory=dict)
    """By purpose: explain, and the score types."""
    cost: float | None = None
    """Of all requests, also of those that earlier runs paid for; null without a price."""
    currency: str = "USD"
    capabilities: dict[str, Capabilities] = Field(default_factory=dict)
    """What the probe found each model's endpoint able to do."""
    labels: list[FileEntry]
    scores: list[FileEntry]
    responses: list[FileEntry]
    code_version: str
