"""When two labels are near, when two features are, and what is made of it."""

from typing import Annotated

from pydantic import Field

from thresher.config import Spec

Operational = {"operational": True}
Share = Annotated[float, Field(gt=0, le=1)]


class FamilyOptions(Spec):
    """How links are found."""

    near_text: Share = 0.6
    """Labels at least as similar are near: the larger of the cosine of their character n-grams, weighted by rarity, and
    the share of words that they have in common, plurals and function words aside."""
    near_decoder: Share = 0.7
    """Features whose decoder rows have at least this cosine are near."""
    near_cofiring: Share = 0.3
    """Features that share at least this part of the smaller one's exemplar windows are near."""
    max_links: Annotated[int, Field(ge=1)] = 32
    """Most links that are kept of a feature to those after it: the nearest."""
    max_near_texts: Annotated[int, Field(ge=1)] = 64
    """Most near texts that are kept of a text: the nearest."""
    block_rows: Annotated[int, Field(ge=1, json_schema_extra=Operational)] = 512
    """Features compared at once with all others: memory grows with it, time hardly."""


class FamiliesSpec(FamilyOptions):
    """Links between the current labels of a dictionary, and the families that they make."""

    root: Annotated[str, Field(json_schema_extra=Operational)]
    """Root of the object store: file:///folder or s3://bucket/prefix."""
    dictionary: str
    """The dictionary, name@version."""
