"""Large arrays that are used again once nobody holds them: fresh memory costs a page fault every 4 KiB."""

import weakref
from collections import defaultdict

import numpy as np

from thresher.activations.row_gather import FloatArray


class RecycledArrays:
    """Arrays live as long as they are referred to, also by a tensor made of them, and then go back."""

    def __init__(self) -> None:
        self._free: defaultdict[tuple[int, int], list[FloatArray]] = defaultdict(list)

    def empty(self, num_rows: int, width: int) -> FloatArray:
        """A float32 array of any content."""
        free = self._free[num_rows, width]
        try:
            memory = free.pop()
        except IndexError:
            memory = np.empty((num_rows, width), np.float32)
        lent = memory.view()
        weakref.finalize(lent, free.append, memory).atexit = False
        return lent
