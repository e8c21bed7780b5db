"""How labels are scored, a spec a scorer."""

from typing import Annotated

from pydantic import Field

from thresher.config import Spec


class BootstrapSpec(Spec):
    """Confidence intervals: percentiles over resampled documents."""

    num_resamples: Annotated[int, Field(ge=100)] = 1000
    """Resamples drawn."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Coverage aimed at."""


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
