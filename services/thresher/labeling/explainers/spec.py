"""How labels are written, a spec an explainer; `method` says which."""

from typing import Annotated, Literal

from pydantic import Field

from thresher.config import Spec
from thresher.labeling.endpoints.spec import EndpointSpec


class PromptedSpec(Spec):
    """What explainers that ask a model for a phrase have in common."""

    endpoint: EndpointSpec | None = None
    """Who writes the labels, if not the endpoint that scores them."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """Sampling temperature."""
    max_tokens: Annotated[int, Field(ge=1)] = 24
    """Longest answer, in tokens."""


class ActivationsSpec(PromptedSpec):
    """Shows the explain split's strongest exemplars with their activations."""

    method: Literal["activations"] = "activations"
    """Input-centric: texts with the firing tokens marked."""
    num_exemplars: Annotated[int, Field(ge=1)] = 5
    """Exemplars shown."""
    tokens_per_exemplar: Annotated[int, Field(ge=1)] = 16
    """Tokens shown of each."""


ExplainerSpec = ActivationsSpec
