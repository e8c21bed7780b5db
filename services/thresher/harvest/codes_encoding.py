"""Rows stored as the sparse codes of a dictionary: a hundred times fewer bytes than dense ones.

Shape suffixes: N rows, K codes (active latents, summed over the rows), D width of the site.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch

from thresher.activations.row_encoding import to_host_async
from thresher.contracts import schemas
from thresher.latents.encoder import SparseEncoder
from thresher.latents.kernels import SparseCodes


@dataclass(frozen=True)
class CodedRows:
    """Encoded rows of any number of codes each."""

    codes: SparseCodes
    norms_N: torch.Tensor
    errors_N: torch.Tensor
    """Zero: codes are stored as computed."""

    @property
    def num_rows(self) -> int:
        return self.codes.num_rows

    @property
    def num_bytes(self) -> int:
        codes = self.codes
        tensors = (codes.row_offsets, codes.latents, codes.values, self.norms_N, self.errors_N)
        return sum(tensor.nbytes for tensor in tensors)

    def part(self, start: int, stop: int) -> "CodedRows":
        offsets = self.codes.row_offsets[start : stop + 1]
        own = slice(int(offsets[0]), int(offsets[-1]))
        codes = SparseCodes(offsets - offsets[0], self.codes.latents[own], self.codes.values[own])
        return CodedRows(codes, self.norms_N[start:stop], self.errors_N[start:stop])

    def to_host(self) -> "CodedRows":
        codes = self.codes
        host = SparseCodes(
            *(to_host_async(item) for item in (codes.row_offsets, codes.latents, codes.values))
        )
        return CodedRows(host, to_host_async(self.norms_N), to_host_async(self.errors_N))


class CodesEncoding:
    """Encodes with a dictionary, whose weights lie on the model's device."""

    def __init__(self, encoder: SparseEncoder) -> None:
        self._encoder = encoder

    @property
    def width(self) -> int:
        """Number of latents."""
        return self._encoder.num_latents

    @property
    def schema(self) -> pa.Schema:
        """Of the site's files."""
        return schemas.SPARSE_CODES

    def encode(self, x_ND: torch.Tensor) -> CodedRows:
        """Codes of rows on the dictionary's device."""
        norms_N = torch.linalg.vector_norm(x_ND.float(), dim=1)
        return CodedRows(self._encoder.encode(x_ND), norms_N, torch.zeros_like(norms_N))

    def record_batch(self, parts: Sequence[CodedRows]) -> pa.RecordBatch:
        """One batch of the file, of rows in host memory."""
        lengths = torch.cat([part.codes.row_offsets.diff() for part in parts])
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).to(torch.int32)
        latents = torch.cat([part.codes.latents for part in parts]).to(torch.int32)
        values = torch.cat([part.codes.values for part in parts]).float()
        columns = [
            pa.ListArray.from_arrays(pa.array(offsets.numpy()), pa.array(column.numpy()))
            for column in (latents, values)
        ]
        return pa.record_batch(columns, schema=schemas.SPARSE_CODES)
