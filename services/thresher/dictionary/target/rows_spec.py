"""In what order and from which harvests a fit reads rows."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError


class MixedHarvestSpec(Spec):
    """A further harvest of the same sites, mixed in."""

    harvest: str
    """Its id."""
    weight: float
    """Rows of it for each row of the fit's own harvest."""

    @field_validator("weight")
    @classmethod
    def _weight_is_moderate(cls, weight: float) -> float:
        if not 1e-3 <= weight <= 1e3:
            raise SpecError(
                "mixture",
                weight,
                allowed="weights of 0.001 to 1000",
                mend="Leave a harvest of less weight out; make a heavier one the fit's own.",
            )
        return weight


class GlobalShuffle(Spec):
    """Any row of the split may stand next to any other: for harvests whose rows can be read at random."""

    kind: Literal["global"] = "global"
    """global"""


class BlockShuffle(Spec):
    """Blocks of rows in random order, and rows in random order within a window of so many blocks: for harvests that
    are larger than the cache, each byte of which is then read once an epoch."""

    kind: Literal["blocks"]
    """blocks"""
    block_rows: int = Field(default=8192, gt=0)
    """Consecutive rows that are read together."""
    window_blocks: int = Field(default=128, gt=0)
    """Blocks that are shuffled together. Two windows are in memory: the one that is read and the next."""

    @property
    def window_rows(self) -> int:
        """Rows that are shuffled together."""
        return self.block_rows * self.window_blocks


ShuffleSpec = Annotated[GlobalShuffle | BlockShuffle, Field(discriminator="kind")]
