"""How documents are dealt to the splits."""

from typing import Annotated

from pydantic import Field, model_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError


class SplitShares(Spec):
    """How documents are dealt out. Fractions that sum to 1."""

    fit: Annotated[float, Field(ge=0, le=1)] = 0.7
    """To fit dictionaries."""
    explain: Annotated[float, Field(ge=0, le=1)] = 0.15
    """To find the exemplars that explanations are written from."""
    report: Annotated[float, Field(ge=0, le=1)] = 0.15
    """To score: held out from all else."""

    @model_validator(mode="after")
    def _sum_to_one(self) -> "SplitShares":
        total = self.fit + self.explain + self.report
        if abs(total - 1) > 1e-6:
            raise SpecError(
                "splits", round(total, 6), allowed="fractions that sum to 1", mend="Correct the fractions."
            )
        return self
