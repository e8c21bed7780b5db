"""From stored values back to rows. Needs no torch.

Shape suffixes: N rows, D width of the site, G blocks of columns.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from thresher.contracts.schemas import CENTRE_METADATA, ENCODING_METADATA, INT8_BLOCK_COLUMNS, SPREAD_METADATA

FloatArray = npt.NDArray[np.float32]
RawRows = npt.NDArray[Any]  # float16, int8, or uint16 that holds bfloat16's bits


@dataclass(frozen=True)
class RowDecoding:
    """How to read the rows of one file, as the metadata of its schema say."""

    encoding: str
    spread_D: FloatArray | None
    centre_D: FloatArray | None

    @classmethod
    def of(cls, schema: pa.Schema) -> Self:
        metadata = schema.metadata
        spread, centre = (
            np.frombuffer(metadata[name], "<f4") if name in metadata else None
            for name in (SPREAD_METADATA, CENTRE_METADATA)
        )
        return cls(metadata[ENCODING_METADATA].decode(), spread, centre)

    def decode(self, raw_ND: RawRows, scale_NG: RawRows | None) -> FloatArray:
        """x_ND, float32; `scale_NG` is of int8 rows alone."""
        if self.encoding == "bfloat16":
            return (raw_ND.astype(np.uint32) << 16).view(np.float32)
        x_ND: FloatArray = raw_ND.astype(np.float32)
        if self.encoding == "int8":
            assert scale_NG is not None, "int8 rows have scales"
            scales_ND = np.repeat(scale_NG.astype(np.float32), INT8_BLOCK_COLUMNS, axis=1)
            x_ND *= scales_ND[:, : x_ND.shape[1]]
            if self.spread_D is not None and self.centre_D is not None:
                x_ND *= self.spread_D
                x_ND += self.centre_D
        return x_ND


def raw_rows(x: pa.Array, width: int) -> RawRows:
    """A column of fixed-width rows as a view of its buffer."""
    matrix: RawRows = x.flatten().to_numpy(zero_copy_only=True).reshape(-1, width)
    return matrix
