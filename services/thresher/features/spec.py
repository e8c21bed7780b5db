"""What to compute about each feature, and from what."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError

Operational = {"operational": True}


class FeatureOptions(Spec):
    """What to keep of each feature."""

    min_position: Annotated[int, Field(ge=0)] = 1
    """First position of a sequence that counts: position 0 is an attention sink that drowns all else."""
    context_tokens: Annotated[int, Field(ge=1)] = 32
    """Tokens an exemplar shows. Windows of this length tile each sequence."""
    top_exemplars: Annotated[int, Field(ge=1)] = 20
    """Strongest windows kept a feature and split, each of another document."""
    quantile_exemplars: Annotated[int, Field(ge=0)] = 20
    """Windows sampled over the whole range of activation a feature and split, each of another document."""
    quantiles: Annotated[int, Field(ge=1)] = 10
    """Strata of the sampled windows, equal in number of windows; must divide `quantile_exemplars`."""
    negatives: Annotated[int, Field(ge=0)] = 20
    """Windows in which the feature never fires, a feature and split, each of another document."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of every sample."""
    too_rare_below: Annotated[int, Field(ge=1)] = 10
    """A feature that fires in windows of fewer documents than this, in either split, is in state too_rare."""

    @model_validator(mode="after")
    def _quantiles_divide(self) -> Self:
        if self.quantile_exemplars % self.quantiles:
            raise SpecError(
                "quantile_exemplars",
                self.quantile_exemplars,
                allowed=f"multiples of quantiles ({self.quantiles})",
                mend="Take as many windows from each stratum.",
            )
        return self


class FeaturesSpec(FeatureOptions):
    """Statistics and exemplars of every feature of a dictionary, from a sparse harvest."""

    root: Annotated[str, Field(json_schema_extra=Operational)]
    """Root of the object store: file:///folder or s3://bucket/prefix."""
    harvest: str
    """Id of a sparse harvest that holds the explain and report splits."""
    tokenizer: Annotated[str, Field(json_schema_extra=Operational)]
    """Folder with the model's tokenizer.json, for the text of tokens; the one that the harvest used."""
