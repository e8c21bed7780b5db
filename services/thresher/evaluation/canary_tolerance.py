"""How far a stored row may lie from a float32 forward pass of the same model.

A value that is rounded to a type of p significant bits is off by up to u = 2^-p of itself. A decoder layer rounds the
residual stream about six times, each time by a random amount of which the root mean square is some 0.4 u: layer l of a
healthy engine is thus off by about u sqrt(l + 1). Four times that is allowed to the median row and sixteen times to the
worst, since rows differ in how much of them cancels. What the encoding cost, as measured when the rows were stored,
comes on top. Rows of other tokens or of another layer are off by a tenth of themselves or more.
"""

from collections.abc import Mapping

from thresher.contracts.manifests import HarvestManifest, Record
from thresher.contracts.sites import Site

ROUNDING: Mapping[str, float] = {
    "bfloat16": 2.0**-8,
    "float16": 2.0**-11,
    # Sums of thousands of terms in other orders, not single roundings of 2^-24.
    "float32": 2.0**-16,
}
MEDIAN_FACTOR, WORST_FACTOR = 4.0, 16.0
LARGEST = 0.5


class Tolerance(Record):
    """Relative row errors that are allowed."""

    median: float
    worst: float


def tolerance(manifest: HarvestManifest, site: str) -> Tolerance:
    """Of a site, from its layer, the engines' type and the encoding."""
    rounding = max(ROUNDING[item.dtype] for item in manifest.provenance)
    expected = rounding * (Site.parse(site).layer + 1) ** 0.5
    stored = manifest.sites[site]
    return Tolerance(
        median=min(LARGEST, MEDIAN_FACTOR * expected + stored.relative_error),
        worst=min(LARGEST, WORST_FACTOR * expected + stored.max_row_error),
    )
