"""What a file of rows says of them in its commit record: error, norms, outliers."""

import heapq

import numpy as np
import torch

from thresher.contracts.manifests import OutlierRow

NORM_BINS_PER_OCTAVE = 4
MAX_OUTLIERS = 8


class RowStatistics:
    """Gathers, in the order of the file, so that the same rows give the same figures to the last bit.

    Shape suffix N: rows.
    """

    def __init__(self) -> None:
        self._squared_error = self._squared_norm = 0.0
        self._max_row_error = 0.0
        self._norm_counts: dict[int, int] = {}
        self._outliers: list[tuple[float, int, int]] = []

    def add(
        self, norms_N: torch.Tensor, errors_N: torch.Tensor, sequences_N: np.ndarray, positions_N: np.ndarray
    ) -> None:
        """Rows in the order of the file, with their addresses."""
        norms = norms_N.numpy().astype(np.float64)
        errors = errors_N.numpy().astype(np.float64)
        self._squared_norm += float(np.square(norms).sum())
        self._squared_error += float(np.square(errors).sum())
        positive = norms > 0
        if positive.any():
            self._max_row_error = max(self._max_row_error, float((errors[positive] / norms[positive]).max()))
        self._count(norms[positive])
        largest = np.argsort(-norms, kind="stable")[:MAX_OUTLIERS]
        found = [(float(norms[i]), -int(sequences_N[i]), -int(positions_N[i])) for i in largest]
        self._outliers = heapq.nlargest(MAX_OUTLIERS, [*self._outliers, *found])

    def _count(self, norms: np.ndarray) -> None:
        bins, counts = np.unique(
            np.floor(NORM_BINS_PER_OCTAVE * np.log2(norms)).astype(np.int64), return_counts=True
        )
        for index, count in zip(bins.tolist(), counts.tolist(), strict=True):
            self._norm_counts[index] = self._norm_counts.get(index, 0) + count

    @property
    def relative_error(self) -> float:
        """sqrt(sum |x - stored(x)|^2 / sum |x|^2)."""
        return float((self._squared_error / self._squared_norm) ** 0.5) if self._squared_norm else 0.0

    @property
    def max_row_error(self) -> float:
        """Largest |x - stored(x)| / |x|."""
        return self._max_row_error

    @property
    def norm_counts(self) -> dict[int, int]:
        """Rows by norm in quarters of an octave."""
        return dict(sorted(self._norm_counts.items()))

    @property
    def outliers(self) -> list[OutlierRow]:
        """The rows of largest norm, largest first."""
        return [
            OutlierRow(sequence=-sequence, position=-position, norm=norm)
            for norm, sequence, position in self._outliers
        ]
