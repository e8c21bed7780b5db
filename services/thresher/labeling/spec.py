"""What to label, with which model, and how to score it."""

import os
import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError

Operational = {"operational": True}
ENVIRONMENT_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")


def _base_url_from_environment() -> str:
    return os.environ.get("OPENAI_BASE_URL", "")


class EndpointSpec(Spec):
    """An OpenAI-compatible server. The key is read from the environment, and from nowhere else."""

    model: str
    """Name of the model, as the endpoint serves it."""
    revision: str = "unstated"
    """Revision or weights hash of the served model. Answers of one revision are never taken for another's."""
    base_url: Annotated[str, Field(default_factory=_base_url_from_environment, json_schema_extra=Operational)]
    """Address up to and with /v1; the environment's OPENAI_BASE_URL unless given."""
    api_key_env: Annotated[str, Field(json_schema_extra=Operational)] = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key."""
    concurrency: Annotated[int, Field(ge=1, json_schema_extra=Operational)] = 8
    """Requests in flight at once."""
    timeout_s: Annotated[float, Field(gt=0, json_schema_extra=Operational)] = 300.0
    """Longest wait for one answer; a server on CPU needs minutes for its first."""
    max_retries: Annotated[int, Field(ge=0, json_schema_extra=Operational)] = 6
    """Further attempts after a rate limit, a server error, a broken connection or a timeout, with backoff."""

    @field_validator("base_url")
    @classmethod
    def _url_without_secret(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SpecError(
                "base_url", url, allowed="http(s)://host/v1", mend="Give it here or in OPENAI_BASE_URL."
            )
        if parts.username or parts.password or parts.query:
            shown = f"{parts.scheme}://…@{parts.hostname}"
            raise SpecError(
                "base_url", shown, mend="Leave credentials out of the address: set OPENAI_API_KEY."
            )
        return url

    @field_validator("api_key_env")
    @classmethod
    def _name_not_key(cls, name: str) -> str:
        if ENVIRONMENT_NAME.fullmatch(name) is None:
            raise SpecError(
                "api_key_env", "…", allowed="A-Z, 0-9, _", mend="Name a variable; never write the key here."
            )
        return name


class SelectionSpec(Spec):
    """Which features to label."""

    count: Annotated[int, Field(ge=1)] | None = None
    """How many, or null for every feature, dead ones included. Of no effect beside a list of features."""
    selection: Literal["density_spread", "top_density"] | list[Annotated[int, Field(ge=0)]] = "density_spread"
    """Evenly over the ranks of density, the densest, or the features listed."""
    min_exemplars: Annotated[int, Field(ge=1)] = 4
    """A feature with fewer firing exemplars than this, in either split, is in state too_rare."""


class ExplainerSpec(Spec):
    """How a label is written."""

    method: Literal["activations"] = "activations"
    """Show the explain split's strongest exemplars with their activations, ask for one phrase."""
    endpoint: EndpointSpec | None = None
    """Who writes the labels, if not the endpoint that scores them."""
    num_exemplars: Annotated[int, Field(ge=1)] = 5
    """Exemplars shown."""
    tokens_per_exemplar: Annotated[int, Field(ge=1)] = 16
    """Tokens shown of each."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """Sampling temperature."""
    max_tokens: Annotated[int, Field(ge=1)] = 24
    """Longest answer, in tokens."""


class SimulationSpec(Spec):
    """Simulation scoring: predict every token's activation from the label, correlate with the truth.

    The correlation pools the tokens of all contexts with equal weight, so the numbers of contexts by kind are the
    weights of the kinds.
    """

    num_top: Annotated[int, Field(ge=0)] = 3
    """Contexts from the strongest exemplars."""
    num_quantile: Annotated[int, Field(ge=0)] = 2
    """Contexts spread over the strata of activation."""
    num_negative: Annotated[int, Field(ge=0)] = 3
    """Contexts in which the feature never fires."""
    tokens_per_context: Annotated[int, Field(ge=2)] = 16
    """Tokens of each context, cut around the peak."""
    contexts_per_prompt: Annotated[int, Field(ge=1)] = 1
    """Contexts predicted by one request. More share the cost of the examples, but the longer the run of unknowns, the
    less probability a small model leaves for digits."""
    num_logprobs: Annotated[int, Field(ge=1)] = 20
    """Most likely tokens read at each position; digits beyond them are unseen. vLLM allows 20 unless told otherwise."""


class DetectionSpec(Spec):
    """Detection scoring: does the label apply to this text, yes or no."""

    num_active: Annotated[int, Field(ge=1)] = 5
    """Contexts in which the feature fires."""
    num_inactive: Annotated[int, Field(ge=1)] = 5
    """Contexts in which it never does."""
    tokens_per_context: Annotated[int, Field(ge=2)] = 20
    """Tokens of each context, cut around the peak."""
    num_logprobs: Annotated[int, Field(ge=2)] = 20
    """Most likely first tokens that are searched for a yes or a no."""


class BaselineSpec(Spec):
    """The same scores with labels of other features: what a label must beat."""

    num_shuffles: Annotated[int, Field(ge=0)] = 1
    """Other labels tried on each feature's contexts."""


class BootstrapSpec(Spec):
    """Confidence intervals: percentiles over resampled documents."""

    num_resamples: Annotated[int, Field(ge=100)] = 1000
    """Resamples drawn."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Coverage aimed at."""


class BudgetSpec(Spec):
    """A hard stop. What is left then is in state over_budget."""

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Prompt and completion tokens the run may spend; null for no limit. Answers stored by earlier runs are free."""


class LabelSpec(Spec):
    """One run of labelling: features, explainer, scorers, baseline."""

    root: Annotated[str, Field(json_schema_extra=Operational)]
    """Root of the object store: file:///folder or s3://bucket/prefix."""
    dictionary: str
    """The dictionary, name@version."""
    corpus: str
    """Id of the corpus that the features artifact was made over."""
    tokenizer: Annotated[str, Field(json_schema_extra=Operational)]
    """Folder with the tokenizer.json of the endpoint's model: simulation must place tokens exactly."""
    endpoint: EndpointSpec
    """Who scores and, unless the explainer has its own, who writes the labels."""
    features: SelectionSpec = SelectionSpec()
    """Which features to label."""
    explainer: ExplainerSpec = ExplainerSpec()
    """How labels are written."""
    simulation: SimulationSpec | None = SimulationSpec()
    """Simulation scoring, or null to leave it out: it needs an endpoint that returns prompt log-probabilities."""
    detection: DetectionSpec | None = DetectionSpec()
    """Detection scoring, or null to leave it out."""
    baseline: BaselineSpec = BaselineSpec()
    """Shuffled labels."""
    bootstrap: BootstrapSpec = BootstrapSpec()
    """Confidence intervals."""
    budget: BudgetSpec = BudgetSpec()
    """Hard stop."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of every sample, of the baseline and of the explainer's decoding."""

    @model_validator(mode="after")
    def _simulation_has_contexts(self) -> Self:
        simulation = self.simulation
        if simulation is not None and simulation.num_top + simulation.num_quantile == 0:
            raise SpecError("simulation.num_top", 0, mend="Give it contexts in which the feature fires.")
        return self

    @property
    def explainer_endpoint(self) -> EndpointSpec:
        return self.explainer.endpoint or self.endpoint
