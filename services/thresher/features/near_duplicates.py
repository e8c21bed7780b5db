"""Chooses among candidates, best first: within quotas, of distinct documents, and no near-duplicate text.

Resemblance of two windows is that of their sets of runs of three tokens, the size of the intersection by that of the
union (Broder, On the resemblance and containment of documents, 1997, section 2), computed exactly, of hashes.
Shapes: U distinct windows, C tokens of a window, S runs of a window, E candidates, F features, K kinds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from thresher.contracts.exemplars import EXEMPLAR_SPLITS
from thresher.features.loops import Int32s, Int64s, mix
from thresher.latents.kernels.threads import compiled, for_ranges

RUN_TOKENS = 3
HALF = np.uint64(32)
UInt32s = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Candidates:
    """Sorted by feature, split and kind, the best of a kind first. A quota counts within (split, kind, quantile)."""

    offsets_F: Int64s
    """[F + 1]: the candidates of feature f are [offsets[f], offsets[f + 1])."""
    split_E: Int32s
    kind_E: Int32s
    quantile_E: Int32s
    """0 but for the quantile kind."""
    document_E: Int32s
    window_E: Int64s
    """Index of the candidate's window."""


class RunSets:
    """The distinct runs of three tokens of every window."""

    def __init__(self, token_ids_UC: npt.NDArray[np.int32]) -> None:
        size = max(token_ids_UC.shape[1] - RUN_TOKENS + 1, 1)
        self.runs_US = np.zeros((len(token_ids_UC), size), np.uint32)
        self.num_runs_U = np.zeros(len(token_ids_UC), np.int32)
        for_ranges(_distinct_runs, len(token_ids_UC), token_ids_UC, self.runs_US, self.num_runs_U)


def choose(
    candidates: Candidates, runs: RunSets, quota_K: Int64s, num_quantiles: int, near_duplicate: float
) -> npt.NDArray[np.bool_]:
    """[E]: which candidates are taken.

    A candidate is passed over once its quota is full, if its document is shown already in its split and kind, or if
    it resembles by `near_duplicate` or more what its feature shows in its split and kind, or in another split.
    """
    taken_E = np.zeros(len(candidates.split_E), bool)
    for_ranges(
        _choose,
        len(candidates.offsets_F) - 1,
        candidates.offsets_F,
        candidates.split_E,
        candidates.kind_E,
        candidates.quantile_E,
        candidates.document_E,
        candidates.window_E,
        quota_K,
        num_quantiles,
        len(EXEMPLAR_SPLITS),
        runs.runs_US,
        runs.num_runs_U,
        near_duplicate,
        taken_E,
    )
    return taken_E


@compiled
def _distinct_runs(
    start: int, stop: int, token_ids_UC: npt.NDArray[np.int32], runs_US: UInt32s, num_runs_U: Int32s
) -> None:
    length = token_ids_UC.shape[1]
    for window in range(start, stop):
        for first in range(runs_US.shape[1]):
            state = np.uint64(0)
            for token in range(first, min(first + RUN_TOKENS, length)):
                state = mix(state ^ np.uint64(token_ids_UC[window, token]))
            run = np.uint32(state >> HALF)
            is_new = True
            for other in runs_US[window, : num_runs_U[window]]:
                if other == run:
                    is_new = False
                    break
            if is_new:
                runs_US[window, num_runs_U[window]] = run
                num_runs_U[window] += 1


@compiled
def _place_of(run: Any, keys: UInt32s, stamps: Int32s, stamp: int) -> Any:
    """Where the run is in the table, or would be."""
    mask = keys.shape[0] - 1
    place = np.int64(run) & mask
    while stamps[place] == stamp and keys[place] != run:
        place = (place + 1) & mask
    return place


@compiled
def _choose(
    start: int,
    stop: int,
    offsets_F: Int64s,
    split_E: Int32s,
    kind_E: Int32s,
    quantile_E: Int32s,
    document_E: Int32s,
    window_E: Int64s,
    quota_K: Int64s,
    num_quantiles: int,
    num_splits: int,
    runs_US: UInt32s,
    num_runs_U: Int32s,
    near_duplicate: float,
    taken_E: npt.NDArray[np.bool_],
) -> None:
    num_kinds, num_runs = quota_K.shape[0], runs_US.shape[1]
    most = 0
    for feature in range(start, stop):
        most = max(most, offsets_F[feature + 1] - offsets_F[feature])
    size = 16
    while size < 2 * most * num_runs:
        size *= 2
    # Of the runs taken by the feature whose number is the stamp: which windows hold each, as linked lists.
    keys, stamps = np.zeros(size, np.uint32), np.full(size, -1, np.int32)
    head, following = np.zeros(size, np.int64), np.empty(most * num_runs, np.int64)
    shared, touched = np.zeros(most, np.int32), np.empty(most, np.int64)
    taken = np.empty(most, np.int64)
    counts = np.zeros((num_splits, num_kinds, num_quantiles), np.int64)
    for feature in range(start, stop):
        counts[:] = 0
        num_taken = 0
        for entry in range(offsets_F[feature], offsets_F[feature + 1]):
            split, kind, quantile = split_E[entry], kind_E[entry], quantile_E[entry]
            if counts[split, kind, quantile] >= quota_K[kind]:
                continue
            clashes = False
            other = num_taken - 1
            while other >= 0 and split_E[taken[other]] == split and kind_E[taken[other]] == kind:
                if document_E[taken[other]] == document_E[entry]:
                    clashes = True
                    break
                other -= 1
            if clashes:
                continue
            window = window_E[entry]
            num_touched = 0
            for run in runs_US[window, : num_runs_U[window]]:
                place = _place_of(run, keys, stamps, feature)
                posting = head[place] if stamps[place] == feature else -1
                while posting >= 0:
                    owner = posting // num_runs
                    if shared[owner] == 0:
                        touched[num_touched] = owner
                        num_touched += 1
                    shared[owner] += 1
                    posting = following[posting]
            for owner in touched[:num_touched]:
                shown = taken[owner]
                union = num_runs_U[window] + num_runs_U[window_E[shown]] - shared[owner]
                is_near = shared[owner] >= near_duplicate * union
                same_group = split_E[shown] == split and kind_E[shown] == kind
                if is_near and (same_group or split_E[shown] != split):
                    clashes = True
                shared[owner] = 0
            if clashes:
                continue
            for rank in range(num_runs_U[window]):
                run = runs_US[window, rank]
                place = _place_of(run, keys, stamps, feature)
                posting = num_taken * num_runs + rank
                following[posting] = head[place] if stamps[place] == feature else -1
                keys[place], stamps[place], head[place] = run, feature, posting
            taken[num_taken] = entry
            num_taken += 1
            counts[split, kind, quantile] += 1
            taken_E[entry] = True
