"""Tensors of a foreign file, taken one by one: each present, of its shape, finite, none left over."""

import io
import zipfile
from collections.abc import Mapping

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from thresher.contracts.errors import SpecError
from thresher.dictionary.formats.source_folder import SourceFolder


class TensorTable:
    """What a file holds, by name."""

    def __init__(self, folder: SourceFolder, file: str, tensors: Mapping[str, torch.Tensor]) -> None:
        self._folder, self._file, self._left = folder, file, dict(tensors)

    @property
    def names(self) -> list[str]:
        """Of what was not taken yet."""
        return sorted(self._left)

    def shape(self, name: str, num_axes: int) -> tuple[int, ...]:
        """Shape of a tensor.

        Raises:
            SpecError: it is absent, or has another number of axes.
        """
        shape = tuple(self._find(name).shape)
        if len(shape) != num_axes or 0 in shape:
            raise self.fault(f"{name} has the shape {shape}, not one of {num_axes} axes.")
        return shape

    def take(self, name: str, *shape: int) -> torch.Tensor:
        """A tensor in float32, contiguous.

        Raises:
            SpecError: it is absent, of another shape, no floating point numbers, or not all finite.
        """
        found = self._find(name)
        if tuple(found.shape) != shape:
            raise self.fault(f"{name} has the shape {tuple(found.shape)}, but {shape} is due.")
        if not found.is_floating_point():
            raise self.fault(f"{name} holds {found.dtype}, but floating point numbers are due.")
        if not bool(found.isfinite().all()):
            raise self.fault(f"{name} holds numbers that are not finite: the dictionary is damaged.")
        self._left.pop(name)
        return found.float().contiguous()

    def drop(self, *names: str) -> None:
        """Leave tensors aside that say nothing about the dictionary at inference."""
        for name in names:
            self._left.pop(name, None)

    def check_empty(self) -> None:
        """Raise SpecError if something was not taken: what is not understood might matter."""
        if self._left:
            raise self.fault(f"It also holds {', '.join(self.names)}, which its architecture does not have.")

    def integer(self, name: str) -> int:
        """A single whole number.

        Raises:
            SpecError: it is absent or something else.
        """
        found = self._find(name)
        if found.numel() != 1 or found.is_floating_point():
            raise self.fault(f"{name} is no single whole number.")
        self._left.pop(name)
        return int(found)

    def fault(self, mend: str) -> SpecError:
        """What is wrong with the file."""
        return self._folder.fault(self._file, mend)

    def _find(self, name: str) -> torch.Tensor:
        if name not in self._left:
            raise self.fault(f"It lacks {name}; it holds {', '.join(self.names)}.")
        return self._left[name]


def read_safetensors(folder: SourceFolder, file: str) -> TensorTable:
    """Tensors of a .safetensors file.

    Raises:
        SpecError: it is absent, a pickle or damaged.
    """
    data = folder.read(file)
    try:
        return TensorTable(folder, file, load(data))
    except SafetensorError as error:
        raise folder.fault(
            file, f"It is no whole safetensors file ({error}): download or convert it again."
        ) from error


def read_npz(folder: SourceFolder, file: str) -> TensorTable:
    """Arrays of a .npz file; arrays of Python objects, which are pickles, are refused.

    Raises:
        SpecError: it is absent or damaged, or holds objects.
    """
    data = folder.read(file)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            tensors = {name: torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in arrays.files}
    except (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise folder.fault(file, f"It is no whole .npz file of plain arrays ({error}).") from error
    return TensorTable(folder, file, tensors)
