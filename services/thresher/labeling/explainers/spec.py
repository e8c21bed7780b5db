"""How labels are written, a spec an explainer."""

from typing import Annotated, Literal

from pydantic import Field

from thresher.config import Spec
from thresher.labeling.endpoints.spec import EndpointSpec


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
