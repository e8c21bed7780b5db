"""From whole sequences of rows to Arrow record batches: dense rows, or a dictionary's sparse codes.

Shapes: N rows, D width of the site, F latents.
"""

from typing import Protocol

import numpy as np
import pyarrow as pa
import torch

from thresher.contracts import schemas
from thresher.contracts.manifests import EncodingName
from thresher.latents.encoder import SparseEncoder

STORED_DTYPES: dict[EncodingName, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class RowEncoder(Protocol):
    """Encodes the rows of one site of one shard."""

    def schema(self, d_model: int) -> pa.Schema: ...

    def encode(self, x_ND: torch.Tensor) -> pa.RecordBatch: ...

    @property
    def relative_error(self) -> float:
        """sqrt(sum |x - stored|^2 / sum |x|^2) over all that was encoded."""

    @property
    def width(self) -> int | None:
        """Columns of a stored row, if it is not the model's width."""


class DenseRowEncoder:
    """Rows as bfloat16 or float16, with the error that this costs."""

    width = None

    def __init__(self, encoding: EncodingName) -> None:
        self._encoding = encoding
        self._squared_error = 0.0
        self._squared_norm = 0.0

    def schema(self, d_model: int) -> pa.Schema:
        return schemas.dense_rows(self._encoding, d_model)

    def encode(self, x_ND: torch.Tensor) -> pa.RecordBatch:
        stored_ND = x_ND.to(STORED_DTYPES[self._encoding])
        if not torch.isfinite(stored_ND).all():
            raise OverflowError(f"values beyond the range of {self._encoding}: use encoding bfloat16")
        self._measure(x_ND, stored_ND)
        bits = stored_ND.contiguous().view(torch.int16).numpy().reshape(-1)
        values = pa.array(bits.view(np.uint16 if self._encoding == "bfloat16" else np.float16))
        schema = self.schema(x_ND.shape[1])
        column = pa.FixedSizeListArray.from_arrays(values, type=schema.field("x").type)
        return pa.record_batch([column], schema=schema)

    def _measure(self, x_ND: torch.Tensor, stored_ND: torch.Tensor) -> None:
        exact_ND = x_ND.float()
        self._squared_norm += float(exact_ND.square().sum(dtype=torch.float64))
        if stored_ND.dtype != x_ND.dtype:
            self._squared_error += float((exact_ND - stored_ND.float()).square().sum(dtype=torch.float64))

    @property
    def relative_error(self) -> float:
        return float((self._squared_error / self._squared_norm) ** 0.5) if self._squared_norm else 0.0


class SparseRowEncoder:
    """Rows as the codes of a dictionary: indices and values of the active latents."""

    relative_error = 0.0

    def __init__(self, encoder: SparseEncoder, num_latents: int) -> None:
        self._encoder = encoder
        self.width = num_latents

    def schema(self, d_model: int) -> pa.Schema:
        return schemas.SPARSE_CODES

    def encode(self, x_ND: torch.Tensor) -> pa.RecordBatch:
        codes = self._encoder.encode(x_ND.float())
        offsets = pa.array(codes.row_offsets.to(torch.int32).numpy())
        latents = pa.ListArray.from_arrays(offsets, pa.array(codes.latents.to(torch.int32).numpy()))
        values = pa.ListArray.from_arrays(offsets, pa.array(codes.values.float().numpy()))
        return pa.record_batch([latents, values], schema=schemas.SPARSE_CODES)
