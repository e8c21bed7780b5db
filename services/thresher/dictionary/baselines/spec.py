"""Baselines to fit in place of a trained dictionary, told apart by `kind`.

They are made of the rows of `num_steps` batches, and published as any other dictionary. Inputs must be what is
reconstructed.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from thresher.contracts.errors import SpecError
from thresher.dictionary.architectures.spec import ArchitectureSpec


class PcaSpec(ArchitectureSpec):
    """Principal components, each as two latents, one for either sign (scikit-learn's IncrementalPCA).

    Codes are relu of the projections of centred rows: all of them, which reconstructs as PCA does, or the k largest.
    """

    kind: Literal["pca"]
    """Baseline."""
    k: int | None = Field(default=None, gt=0)
    """Active latents a row; null is one for each component."""

    @model_validator(mode="after")
    def _latents_are_pairs(self) -> Self:
        if self.num_latents % 2:
            raise SpecError(
                "architecture.num_latents",
                self.num_latents,
                allowed="even numbers",
                mend="Each component takes two latents: make it even.",
            )
        return self

    def check_widths(self, d_in: int, site: str) -> None:
        if self.num_latents > 2 * d_in:
            raise SpecError(
                "architecture.num_latents",
                self.num_latents,
                allowed=f"up to {2 * d_in}",
                mend=f"Rows of {site} are {d_in} wide: they have no more components.",
            )


class SemiNmfSpec(ArchitectureSpec):
    """Semi-nonnegative matrix factorisation (Ding, Li and Jordan 2010): rows of any sign, codes that are not negative.

    The factorisation gives codes for its own rows alone. Those of other rows are relu of the linear map that fits
    them best (ridge regression).
    """

    kind: Literal["semi_nmf"]
    """Baseline."""
    num_iterations: int = Field(default=100, gt=0)
    """Multiplicative updates."""


class KMeansSpec(ArchitectureSpec):
    """Spherical k-means (scikit-learn's MiniBatchKMeans on centred rows of norm 1): latents are directions of clusters.

    Codes are the k largest projections on them; with k = 1 that is the cluster of a row, and how far along it lies.
    """

    kind: Literal["k_means"]
    """Baseline."""
    k: int = Field(default=1, gt=0)
    """Active latents a row."""


class RandomDirectionsSpec(ArchitectureSpec):
    """Random directions; codes are the k largest projections of centred rows on them."""

    kind: Literal["random_directions"]
    """Baseline."""
    k: int = Field(gt=0)
    """Active latents a row."""


BaselineSpec = PcaSpec | SemiNmfSpec | KMeansSpec | RandomDirectionsSpec
