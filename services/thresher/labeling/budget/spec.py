"""What a run may spend, and what tokens cost."""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, field_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError


class PriceSpec(Spec):
    """Of one model, per million tokens, in the budget's currency."""

    prompt: Annotated[float, Field(ge=0)]
    """Of prompt tokens."""
    completion: Annotated[float, Field(ge=0)]
    """Of completion tokens."""
    cached_prompt: Annotated[float, Field(ge=0)] | None = None
    """Of prompt tokens that the server says it had in its cache; null if they cost as much as others."""


class BudgetSpec(Spec):
    """Hard stops. What is left then is in state over_budget; a run with a larger budget pays only for that.

    No prices are built in: they would go stale.
    """

    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """Prompt and completion tokens the run may spend; null for no limit. Answers stored by earlier runs are free."""
    max_cost: Annotated[float, Field(gt=0)] | None = None
    """What the run may spend, in `currency`; null for no limit. Needs the prices of the models."""
    currency: str = "USD"
    """What prices are in."""
    prices: dict[str, PriceSpec] = Field(default_factory=dict)
    """Price of each model, by its name at the endpoint; or the path of a YAML file that holds such a mapping."""

    @field_validator("prices", mode="before")
    @classmethod
    def _read_file(cls, value: Any) -> Any:
        """A file is read at once: the resolved spec holds the prices themselves."""
        if not isinstance(value, str):
            return value
        try:
            found = yaml.safe_load(Path(value).read_text())
        except (OSError, yaml.YAMLError) as error:
            raise SpecError("budget.prices", value, mend=f"Give a YAML file: {error}") from error
        if not isinstance(found, dict):
            raise SpecError("budget.prices", value, mend="The file must map names of models to prices.")
        return found
