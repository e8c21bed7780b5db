"""Which rows of the harvested sequences are stored: known from the tokens alone, before a model runs."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class RowSelection(BaseModel):
    """A row is stored if it passes every filter. The default stores all rows."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    min_position: Annotated[int, Field(ge=0)] = 0
    """First position of a sequence that is stored; 1 leaves BOS out."""
    skip_special_tokens: bool = False
    """Leave out tokens that the tokenizer marks as special: BOS, separators, chat markers."""
    skip_tokens: tuple[int, ...] = ()
    """Token ids to leave out."""
    roles: tuple[str, ...] | None = None
    """Keep only tokens of these chat roles; the corpus must be chat-templated."""
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the remaining rows to keep, drawn for each (sequence, position) on its own."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of that draw."""

    @property
    def keeps_all(self) -> bool:
        """Whether every row of every sequence is stored."""
        return self == RowSelection(seed=self.seed)
