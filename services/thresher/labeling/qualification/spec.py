"""How scorers are qualified."""

from typing import Annotated

from pydantic import Field

from thresher.config import Spec


class QualificationSpec(Spec):
    """`thresher label SPEC --qualify`: planted features with known descriptions, scored by the spec's own scorers."""

    min_auroc: Annotated[float, Field(ge=0.5, lt=1)] = 0.6
    """A scorer is qualified if the lower end of the interval of its AUROC, true descriptions against false ones, is
    above this. One that knows nothing has 0.5."""
    num_texts: Annotated[int, Field(ge=2)] = 8
    """Texts of each firing kind made for a planted feature, and three times as many in which it is silent."""
