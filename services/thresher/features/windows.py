"""Windows of a sequence, and what is kept of a latent's peak in one.

Shapes: W windows a sequence.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from thresher.contracts.errors import SpecError

WINDOW_PEAK = np.dtype(
    [
        ("latent", np.int32),
        ("sequence", np.int32),
        ("window", np.int32),  # within the sequence
        ("position", np.int32),  # of the peak, the first if there are several
        ("document", np.uint64),  # hash of the doc_id at the peak
        ("peak", np.float32),
    ]
)
"""One entry a latent and window in which it fires."""
WindowPeaks = npt.NDArray[np.void]


@dataclass(frozen=True)
class WindowGrid:
    """Windows of `length` tokens tile the positions [min_position, sequence_length).

    The last one is moved left until it is full: it overlaps the one before unless the length divides evenly.
    """

    sequence_length: int
    min_position: int
    length: int

    def __post_init__(self) -> None:
        if self.length > self.sequence_length - self.min_position:
            raise SpecError(
                "context_tokens",
                self.length,
                allowed=f"1 to {self.sequence_length - self.min_position}",
                mend=f"Sequences have {self.sequence_length} tokens; windows start at {self.min_position}.",
            )

    @cached_property
    def starts(self) -> npt.NDArray[np.int32]:
        """[W]: first position of each window."""
        starts = np.arange(self.min_position, self.sequence_length, self.length, dtype=np.int32)
        return np.minimum(starts, self.sequence_length - self.length).astype(np.int32)

    @property
    def num_windows(self) -> int:
        """Windows a sequence."""
        return len(self.starts)
