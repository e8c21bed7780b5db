"""What to compute about each feature, and from what."""

import math
from typing import Annotated, Self

from pydantic import Field, model_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError

Operational = {"operational": True}


class SplitShares(Spec):
    """How the documents of the corpus's explain split are dealt; its report split stays whole."""

    explain: Annotated[float, Field(gt=0, le=1)] = 0.6
    """To write labels from."""
    calibrate: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """To fit a simulator's scale."""
    select: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """To choose between labels."""

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        total = self.explain + self.calibrate + self.select
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise SpecError("split_shares", total, allowed=[1.0], mend="The three shares must add up to 1.")
        return self


class SteeringOptions(Spec):
    """Token changes when a feature is added to the residual stream: a forward pass a feature and context."""

    features: list[Annotated[int, Field(ge=0)]] | None = None
    """Which features, or null for all that fire."""
    num_contexts: Annotated[int, Field(ge=1)] = 4
    """Random windows of the explain split that the changes are averaged over, the same for every feature."""
    strength: Annotated[float, Field(gt=0)] = 1.0
    """What is added, as a multiple of the feature's largest activation."""


class OutputOptions(Spec):
    """What each feature does to the model's output."""

    num_tokens: Annotated[int, Field(ge=1)] = 10
    """Tokens a feature and kind: largest and smallest product of decoder row, final norm's scale and unembedding."""
    steering: SteeringOptions | None = None
    """Also the tokens whose probability changes most under steering; null leaves it out, since it costs forwards."""


class FeatureOptions(Spec):
    """What to keep of each feature."""

    min_position: Annotated[int, Field(ge=0)] = 1
    """First position of a sequence that counts: position 0 is an attention sink that drowns all else."""
    context_tokens: Annotated[int, Field(ge=1)] = 32
    """Tokens an exemplar shows. Windows of this length tile each sequence."""
    split_shares: SplitShares = SplitShares()
    """Explain, calibrate and select, by a seeded hash of each document."""
    top_exemplars: Annotated[int, Field(ge=1)] = 20
    """Strongest windows kept a feature and split, each of another document."""
    quantile_exemplars: Annotated[int, Field(ge=0)] = 20
    """Windows sampled over the whole range of activation a feature and split, each of another document."""
    quantiles: Annotated[int, Field(ge=1)] = 10
    """Strata of the sampled windows, equal in number of windows; must divide `quantile_exemplars`."""
    random_exemplars: Annotated[int, Field(ge=0)] = 10
    """Windows drawn uniformly among those in which the feature fires, a feature and split, each of another document."""
    negatives: Annotated[int, Field(ge=0)] = 20
    """Windows in which the feature never fires, a feature and split, each of another document."""
    hard_negatives: Annotated[int, Field(ge=0)] = 10
    """Of each of three kinds, windows in which the feature never fires though one would expect it: those of the latents
    that fire most often with it, of the latents with the nearest decoder rows, and those with the nearest text."""
    neighbours: Annotated[int, Field(ge=1)] = 8
    """Latents a feature that hard negatives are taken from: so many that fire with it, so many near its decoder row."""
    near_duplicate: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Resemblance (shared share of runs of three tokens) from which on two windows count as the same text: a feature
    shows it once a split and kind, and never in two splits. 0.3 is that of a text with itself half a window later."""
    output: OutputOptions | None = OutputOptions()
    """Tokens that each feature promotes and suppresses, or null: a site outside the residual stream has none."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of every sample, and of the deal of documents to splits."""
    too_rare_below: Annotated[int, Field(ge=1)] = 10
    """A feature that fires in windows of fewer documents than this, in explain or in report, is in state too_rare."""

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
    model: Annotated[str | None, Field(json_schema_extra=Operational)] = None
    """Folder of the model that was harvested; needed unless `output` is null."""
