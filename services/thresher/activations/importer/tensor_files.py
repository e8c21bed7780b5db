"""Arrays in .npy and .safetensors files: their headers read, their items by mapped or ranged reads. No pickle.

An item is one entry of the first axis.
"""

import io
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from thresher.activations.importer.objects import SourceObject
from thresher.contracts.errors import SpecError

MAX_HEADER_BYTES = 100 << 20
NPY_FORMAT: Any = np.lib.format  # its functions have no types
SAFETENSORS_DTYPES: Mapping[str, str] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
}


class TensorFile:
    """One array in row-major order from `offset` on of an object."""

    def __init__(
        self,
        source: SourceObject,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        offset: int,
        *,
        is_bfloat16: bool = False,
    ) -> None:
        self.name = source.name
        self.num_items, self.item_shape = shape[0], shape[1:]
        self.dtype_name = "bfloat16" if is_bfloat16 else dtype.name
        self._source, self._shape, self._dtype, self._offset = source, shape, dtype, offset
        self._is_bfloat16 = is_bfloat16

    def take(self, items: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Items in ascending order, bfloat16 as float32.

        Of a local file the pages of those items alone are read, of another the span that holds them.
        """
        first, stop = int(items[0]), int(items[-1]) + 1
        return self._widened(self._raw(first, stop)[items - first])

    def _widened(self, raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return (raw.astype(np.uint32) << 16).view(np.float32) if self._is_bfloat16 else raw

    def check_whole(self, field: str) -> None:
        """Raise SpecError if the object ends before the array does."""
        due = self._offset + math.prod(self._shape) * self._dtype.itemsize
        if self._source.size < due:
            raise SpecError(
                field,
                self.name,
                mend=f"It has {self._source.size:,} bytes of {due:,}: it was cut off, copy it again.",
            )

    def _raw(self, start: int, stop: int) -> npt.NDArray[Any]:
        item_bytes = self._dtype.itemsize * math.prod(self.item_shape)
        path = self._source.store.local_path(self._source.key)
        if path is not None:
            mapped = np.memmap(path, self._dtype, mode="r", offset=self._offset, shape=self._shape)
            return mapped[start:stop]
        first_byte = self._offset + start * item_bytes
        data = self._source.store.get(self._source.key, first_byte, first_byte + (stop - start) * item_bytes)
        return np.frombuffer(data, self._dtype).reshape(stop - start, *self.item_shape)


def open_npy(field: str, source: SourceObject) -> TensorFile:
    """Read the header of a .npy file.

    Raises:
        SpecError: it is none, holds objects or records, is in column order, or is shorter than it says.
    """
    head = io.BytesIO(source.store.get(source.key, 0, min(source.size, 1 << 20)))
    try:
        version = NPY_FORMAT.read_magic(head)
        read = NPY_FORMAT.read_array_header_1_0 if version == (1, 0) else NPY_FORMAT.read_array_header_2_0
        shape, is_fortran, dtype = read(head)
    except ValueError as error:
        raise SpecError(
            field, source.name, mend=f"This is no .npy file that numpy reads: {error}."
        ) from error
    if dtype.hasobject:
        raise SpecError(
            field, source.name, mend="It holds Python objects, which are pickled: save numbers or strings."
        )
    if dtype.kind not in "fiuUS" or dtype.names is not None:
        raise SpecError(
            field, source.name, mend=f"It holds {dtype}: save numbers or strings (bfloat16 as safetensors)."
        )
    if is_fortran and len(shape) > 1:
        raise SpecError(field, source.name, mend="It is in column order: save numpy.ascontiguousarray of it.")
    file = TensorFile(source, _with_items(field, source, shape), dtype, head.tell())
    file.check_whole(field)
    return file


def open_safetensors(field: str, source: SourceObject, tensor: str) -> TensorFile:
    """Read the header of a .safetensors file: 8 bytes of its length, then JSON.

    Raises:
        SpecError: it is none, lacks the tensor, holds it in a type that has no numbers, or is too short.
    """
    header, start = _safetensors_header(field, source)
    header.pop("__metadata__", None)
    if tensor not in header:
        raise SpecError(
            f"{field}.tensor", tensor, allowed=sorted(header), mend=f"Name a tensor of {source.name}."
        )
    try:
        entry = header[tensor]
        dtype_name, shape = str(entry["dtype"]), tuple(int(size) for size in entry["shape"])
        first, stop = (int(offset) for offset in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise SpecError(field, source.name, mend=f"The header of {tensor} is damaged ({error}).") from error
    if dtype_name not in SAFETENSORS_DTYPES:
        raise SpecError(
            field,
            source.name,
            allowed=sorted(SAFETENSORS_DTYPES),
            mend=f"{tensor} holds {dtype_name}: save it as one of these.",
        )
    dtype = np.dtype(SAFETENSORS_DTYPES[dtype_name])
    if stop - first != math.prod(shape) * dtype.itemsize or first < 0:
        raise SpecError(field, source.name, mend=f"The header of {tensor} contradicts itself: save it again.")
    file = TensorFile(
        source, _with_items(field, source, shape), dtype, start + first, is_bfloat16=dtype_name == "BF16"
    )
    file.check_whole(field)
    return file


def _safetensors_header(field: str, source: SourceObject) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(source.store.get(source.key, 0, 8), "little")
    if source.size < 8 or not 2 <= length <= min(MAX_HEADER_BYTES, source.size - 8):
        raise SpecError(field, source.name, mend="This is no .safetensors file.")
    try:
        header = json.loads(source.store.get(source.key, 8, 8 + length))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SpecError(
            field, source.name, mend=f"This is no .safetensors file: its header is no JSON ({error})."
        ) from error
    if not isinstance(header, dict):
        raise SpecError(field, source.name, mend="This is no .safetensors file: its header is no mapping.")
    return header, 8 + length


def _with_items(field: str, source: SourceObject, shape: tuple[int, ...]) -> tuple[int, ...]:
    if not shape or 0 in shape:
        raise SpecError(field, source.name, mend=f"It holds an array of shape {shape}: give one with rows.")
    return shape
