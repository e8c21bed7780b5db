"""How far a stored row may lie from a float32 forward pass of the same model, relative to its norm.

A value that is rounded to a type of p significant bits is off by up to u = 2^-p of itself. A decoder layer rounds the
residual stream about six times, each time by a random amount of which the root mean square is some 0.4 u: layer l of a
healthy engine is thus off by about u sqrt(l + 1). Four times that is allowed to the median row and sixteen times to
every row. Some rows of real models magnify rounding tenfold and more, and the same ones in every engine: what rounding
costs a row in transformers' own forward pass in the engine's type is allowed to it six times more, and to the median
twice. Where that alone is a quarter of the row and more, the type decides whether a massive activation forms at all
(Sun et al., Massive Activations in Large Language Models, 2024): two engines in bfloat16 then differ by nearly the
whole row, so such a row is not judged; if there are more of them than one in twenty, all are. What the encoding may
cost comes on top: half a unit of the last bit of bfloat16 or float16, or what it cost
the worst row when the rows were stored, which for int8 is all that is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from thresher.contracts.manifests import HarvestManifest
from thresher.contracts.sites import Site
from thresher.evaluation.stored_rows import FloatArray

ROUNDING: Mapping[str, float] = {
    "bfloat16": 2.0**-8,
    "float16": 2.0**-11,
    # Sums of thousands of terms in other orders, not single roundings of 2^-24.
    "float32": 2.0**-16,
}
MEDIAN_FACTOR, ROW_FACTOR = 4.0, 16.0
MEDIAN_SENSITIVITY, ROW_SENSITIVITY = 2.0, 6.0
LARGEST = 0.5
UNSTABLE = 0.25
MAX_UNSTABLE_SHARE = 0.05


@dataclass(frozen=True)
class Tolerance:
    """Relative errors that are allowed. Shape suffix N: rows."""

    median: float
    rows_N: FloatArray
    """Infinite for rows that rounding alone decides."""

    @property
    def num_unstable(self) -> int:
        return int(np.isinf(self.rows_N).sum())


def compute_dtype(manifest: HarvestManifest) -> str:
    """The coarsest type that an engine of the harvest computed in."""
    return max((item.dtype for item in manifest.provenance), key=ROUNDING.__getitem__)


def tolerance(manifest: HarvestManifest, site: str, rounding_N: FloatArray) -> Tolerance:
    """Of the rows of a site, from its layer, the engines' type and the encoding.

    Args:
        rounding_N: relative error of each row in a reference forward pass in the engines' type; zero for float32.
    """
    expected = ROUNDING[compute_dtype(manifest)] * (Site.parse(site).layer + 1) ** 0.5
    encoding = max(manifest.sites[site].max_row_error, ROUNDING.get(manifest.encoding, 0.0))
    median = max(MEDIAN_FACTOR * expected, MEDIAN_SENSITIVITY * float(np.median(rounding_N)))
    rows_N = np.minimum(LARGEST, ROW_FACTOR * expected + ROW_SENSITIVITY * rounding_N + encoding)
    unstable_N = rounding_N >= UNSTABLE
    if unstable_N.mean() <= MAX_UNSTABLE_SHARE:
        rows_N = np.where(unstable_N, np.inf, rows_N)
    return Tolerance(
        median=min(LARGEST, median + encoding),
        rows_N=rows_N,
    )
