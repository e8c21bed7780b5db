"""Runs of consecutive rows of a site that lie in this process's memory, as they are stored."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thresher.activations.row_decoding import RawRows, RowDecoding
from thresher.activations.row_gather import Pieces

MAX_HINTS = 1 << 20


@dataclass(frozen=True)
class StoredRun:
    """Rows [first_row, first_row + N) of the site."""

    first_row: int
    raw_ND: RawRows
    scale_NG: RawRows | None
    decoding: RowDecoding

    @property
    def num_bytes(self) -> int:
        return self.raw_ND.nbytes + (0 if self.scale_NG is None else self.scale_NG.nbytes)


def pieces_of(runs: Sequence[StoredRun], width: int) -> Pieces:
    """The addresses of runs in ascending order."""
    firsts = np.array([run.first_row for run in runs], np.int64)
    counts = np.array([len(run.raw_ND) for run in runs], np.int64)
    known: dict[bytes, int] = {}
    tables: list[tuple[np.ndarray, np.ndarray]] = []
    decodings = np.zeros(len(runs), np.int64)
    for index, run in enumerate(runs):
        spread_D, centre_D = _centring(run.decoding, width)
        key = spread_D.tobytes() + centre_D.tobytes()
        decodings[index] = known.setdefault(key, len(known))
        if len(known) > len(tables):
            tables.append((spread_D, centre_D))
    centred = any(run.decoding.spread_D is not None for run in runs)
    hints, hint_shift = _hints(firsts, firsts + counts)
    return Pieces(
        hints=hints,
        hint_shift=hint_shift,
        owners=tuple(runs),
        first_rows_P=firsts,
        stop_rows_P=firsts + counts,
        x_addresses_P=np.array([run.raw_ND.ctypes.data for run in runs], np.uint64),
        scale_addresses_P=np.array(
            [0 if run.scale_NG is None else run.scale_NG.ctypes.data for run in runs], np.uint64
        ),
        decodings_P=decodings,
        spreads_SD=np.stack([spread for spread, _ in tables])
        if centred
        else np.empty((0, width), np.float32),
        centres_SD=np.stack([centre for _, centre in tables])
        if centred
        else np.empty((0, width), np.float32),
    )


def _centring(decoding: RowDecoding, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are not centred have spread 1 and centre 0, which changes no bit of them."""
    if decoding.spread_D is None or decoding.centre_D is None:
        return np.ones(width, np.float32), np.zeros(width, np.float32)
    return decoding.spread_D.astype(np.float32), decoding.centre_D.astype(np.float32)


def _hints(firsts: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, int]:
    """A stretch is about as long as a short run, but for runs so short that the table would be large."""
    if len(firsts) == 0:
        return np.zeros(1, np.int64), 0
    num_rows = int(stops.max())
    stretch = max(1, int(np.median(stops - firsts)) // 2, num_rows // MAX_HINTS)
    shift = stretch.bit_length() - 1
    starts = np.arange((num_rows >> shift) + 1, dtype=np.int64) << shift
    return np.maximum(np.searchsorted(firsts, starts, side="right") - 1, 0), shift
