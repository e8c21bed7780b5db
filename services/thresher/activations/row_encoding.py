"""Rows as they are stored: encoded where they lie (on the model's device), measured, made into Arrow.

Shape suffixes: N rows, D width of the site, G blocks of columns, C columns of a block.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch.nn import functional

from thresher.contracts import schemas
from thresher.contracts.errors import ThresherError
from thresher.contracts.manifests import EncodingName

FLOAT_DTYPES: Mapping[str, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}
INT8_MAX = 127
FLOAT16_MAX = torch.finfo(torch.float16).max
MIN_SPREAD = 1e-12
MASSIVE_NORMS = 4.0
"""Rows this many times longer than the median one do not count in a centre: one in a thousand would set the spread."""


class EncodingRangeError(ThresherError):
    """A value does not fit the encoding."""


@dataclass(frozen=True)
class Centre:
    """What int8 rows are stored less of, and in units of: the mean row and the spread of each column."""

    mean_D: torch.Tensor
    spread_D: torch.Tensor

    @classmethod
    def of(cls, x_ND: torch.Tensor) -> Self:
        """Measured on a sample of rows."""
        exact_ND = x_ND.float()
        norms_N = torch.linalg.vector_norm(exact_ND, dim=1)
        exact_ND = exact_ND[norms_N <= MASSIVE_NORMS * norms_N.median()]
        return cls(exact_ND.mean(0), exact_ND.std(0).clamp(min=MIN_SPREAD))

    def to_metadata(self) -> dict[bytes, bytes]:
        """Little-endian float32, for the schema of each file."""
        return {
            schemas.CENTRE_METADATA: self.mean_D.cpu().numpy().astype("<f4").tobytes(),
            schemas.SPREAD_METADATA: self.spread_D.cpu().numpy().astype("<f4").tobytes(),
        }


class EncodedRows(Protocol):
    """Rows ready to be stored, with what they were."""

    @property
    def num_rows(self) -> int: ...

    @property
    def num_bytes(self) -> int: ...

    @property
    def norms_N(self) -> torch.Tensor:
        """Norm of each row before it was encoded, float32; not finite where the row is not."""

    @property
    def errors_N(self) -> torch.Tensor:
        """|x - stored(x)| of each row, float32."""

    def part(self, start: int, stop: int) -> "EncodedRows":
        """Rows [start, stop), as views. For rows in host memory."""

    def to_host(self) -> "EncodedRows":
        """The rows in this process's memory: a copy begun on a GPU's stream and not waited for, else themselves."""


class RowEncoding(Protocol):
    """How the rows of one site are stored."""

    @property
    def width(self) -> int:
        """Columns of a stored row: D, or the number of latents."""

    @property
    def schema(self) -> pa.Schema:
        """Of the site's files."""

    def encode(self, x_ND: torch.Tensor) -> EncodedRows:
        """Rows on whatever device, encoded there."""

    def record_batch(self, parts: Sequence[Any]) -> pa.RecordBatch:
        """One batch of the file, of rows that this encoding made and that are in host memory."""


@dataclass(frozen=True)
class DenseRows:
    """Encoded rows of fixed width."""

    columns: Mapping[str, torch.Tensor]
    """By name of the Arrow column: x [N, D], and for int8 scale [N, G]."""
    norms_N: torch.Tensor
    errors_N: torch.Tensor

    @property
    def num_rows(self) -> int:
        return int(self.norms_N.shape[0])

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (*self.columns.values(), self.norms_N, self.errors_N))

    def part(self, start: int, stop: int) -> "DenseRows":
        return DenseRows(
            {name: tensor[start:stop] for name, tensor in self.columns.items()},
            self.norms_N[start:stop],
            self.errors_N[start:stop],
        )

    def to_host(self) -> "DenseRows":
        return DenseRows(
            {name: to_host_async(tensor) for name, tensor in self.columns.items()},
            to_host_async(self.norms_N),
            to_host_async(self.errors_N),
        )


def to_host_async(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself on CPU; else pinned memory, to which a copy has begun on the current stream."""
    if not tensor.is_cuda:
        return tensor
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


class DenseEncoding:
    """How the dense rows of one site are stored.

    Args:
        encoding: bfloat16, float16, or int8 with a float16 scale for each block of 32 columns (the block's largest
            value over 127): half a bit a value, by which an outlier column coarsens its own block alone.
        width: D.
        centre: for int8, store rows less a mean and in units of a spread a column, so that the outlier columns that
            all rows of a residual stream share cost nothing.
    """

    def __init__(self, encoding: EncodingName, width: int, centre: Centre | None = None) -> None:
        assert centre is None or encoding == "int8", "only int8 rows are centred"
        self._encoding, self._width, self._centre = encoding, width, centre

    @property
    def width(self) -> int:
        """Values of a stored row."""
        return self._width

    @property
    def schema(self) -> pa.Schema:
        """Of the site's files."""
        schema = schemas.dense_rows(self._encoding, self._width)
        if self._centre is None:
            return schema
        return schema.with_metadata({**schema.metadata, **self._centre.to_metadata()})

    def encode(self, x_ND: torch.Tensor) -> DenseRows:
        """Rows on whatever device, encoded there.

        Raises:
            EncodingRangeError: a finite value is beyond the range of float16.
        """
        exact_ND = x_ND.float()
        columns, decoded_ND = self._int8(exact_ND) if self._encoding == "int8" else self._float(x_ND)
        norms_N = torch.linalg.vector_norm(exact_ND, dim=1)
        if decoded_ND is None:
            errors_N = torch.zeros_like(norms_N)
        else:
            errors_N = torch.linalg.vector_norm(exact_ND - decoded_ND, dim=1)
        if self._encoding == "float16" and bool((errors_N.isinf() & norms_N.isfinite()).any()):
            raise EncodingRangeError("A value is beyond the range of float16: use encoding bfloat16.")
        return DenseRows(columns, norms_N, errors_N)

    def _float(self, x_ND: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
        dtype = FLOAT_DTYPES[self._encoding]
        stored_ND = x_ND.to(dtype).contiguous()
        return {"x": stored_ND}, None if x_ND.dtype == dtype else stored_ND.float()

    def _int8(self, x_ND: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        centred_ND = x_ND if self._centre is None else (x_ND - self._centre.mean_D) / self._centre.spread_D
        num_blocks = schemas.num_int8_blocks(self._width)
        padding = num_blocks * schemas.INT8_BLOCK_COLUMNS - self._width
        blocks_NGC = functional.pad(centred_ND, (0, padding)).reshape(
            -1, num_blocks, schemas.INT8_BLOCK_COLUMNS
        )
        scale_NG = (blocks_NGC.abs().amax(2) / INT8_MAX).clamp(max=FLOAT16_MAX).half()
        divisor_NG = scale_NG.float().clamp(min=torch.finfo(torch.float16).tiny)
        steps_NGC = (blocks_NGC / divisor_NG[:, :, None]).round_().clamp_(-INT8_MAX, INT8_MAX)
        decoded_ND = (steps_NGC * scale_NG.float()[:, :, None]).flatten(1)[:, : self._width]
        if self._centre is not None:
            decoded_ND = decoded_ND * self._centre.spread_D + self._centre.mean_D
        stored_ND = steps_NGC.to(torch.int8).flatten(1)[:, : self._width].contiguous()
        return {"x": stored_ND, "scale": scale_NG}, decoded_ND

    def record_batch(self, parts: Sequence[DenseRows]) -> pa.RecordBatch:
        """One batch of the file, of rows in host memory."""
        schema = self.schema
        joined = {name: torch.cat([part.columns[name] for part in parts]) for name in parts[0].columns}
        values = pa.array(_raw(joined["x"]).reshape(-1))
        arrays = [pa.FixedSizeListArray.from_arrays(values, type=schema.field("x").type)]
        if "scale" in joined:
            scales = pa.array(joined["scale"].numpy().reshape(-1))
            arrays.append(pa.FixedSizeListArray.from_arrays(scales, type=schema.field("scale").type))
        return pa.record_batch(arrays, schema=schema)


def _raw(stored_ND: torch.Tensor) -> npt.NDArray[np.generic]:
    """The bits as numpy has a type for: bfloat16 as uint16."""
    raw = stored_ND.view(torch.uint16) if stored_ND.dtype == torch.bfloat16 else stored_ND
    array: npt.NDArray[np.generic] = raw.numpy()
    return array
