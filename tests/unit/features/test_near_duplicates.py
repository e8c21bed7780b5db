"""Near-duplicate text is shown once a split and kind, and never in two splits."""

import numpy as np
import pytest

from thresher.contracts.exemplars import EXEMPLAR_KINDS, EXEMPLAR_SPLITS
from thresher.features.near_duplicates import Candidates, RunSets, choose

TEXT = np.arange(32)
TOP, RANDOM = EXEMPLAR_KINDS.index("top"), EXEMPLAR_KINDS.index("random")
EXPLAIN, REPORT = EXEMPLAR_SPLITS.index("explain"), EXEMPLAR_SPLITS.index("report")
OTHER = np.arange(100, 132)


def taken(
    windows: list[np.ndarray],
    groups: list[tuple[int, int]],
    documents: list[int] | None = None,
    quota: int = 9,
) -> list[bool]:
    """Which candidates of one feature are chosen; the first half of `groups` is the split."""
    count = len(windows)
    split, kind = np.array(groups, np.int32).T
    candidates = Candidates(
        offsets_F=np.array([0, count]),
        split_E=np.ascontiguousarray(split),
        kind_E=np.ascontiguousarray(kind),
        quantile_E=np.zeros(count, np.int32),
        document_E=np.array(range(count) if documents is None else documents, np.int32),
        window_E=np.arange(count),
    )
    quota_K = np.full(len(EXEMPLAR_KINDS), quota)
    runs = RunSets(np.array(windows, np.int32))
    return choose(candidates, runs, quota_K, num_quantiles=1, near_duplicate=0.3).tolist()


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([(EXPLAIN, TOP), (EXPLAIN, TOP)], [True, False]),
        ([(EXPLAIN, TOP), (EXPLAIN, RANDOM)], [True, True]),
        ([(EXPLAIN, TOP), (REPORT, TOP)], [True, False]),
        ([(EXPLAIN, TOP), (REPORT, RANDOM)], [True, False]),
    ],
)
def test_the_same_text_once_a_kind_and_never_in_two_splits(
    groups: list[tuple[int, int]], expected: list[bool]
) -> None:
    assert taken([TEXT, TEXT], groups) == expected


@pytest.mark.parametrize(
    ("other", "is_near"),
    [
        (np.where(TEXT == 9, 500, TEXT), True),  # a word changed
        (np.concatenate([TEXT[16:], OTHER[:16]]), True),  # half a window later: 14 of 46 runs are shared
        (np.concatenate([TEXT[17:], OTHER[:17]]), False),
        (TEXT[::-1], False),  # the same words, no run of them
        (OTHER, False),
    ],
)
def test_what_is_near(other: np.ndarray, is_near: bool) -> None:
    assert taken([TEXT, other], [(EXPLAIN, TOP), (REPORT, TOP)]) == [True, not is_near]


def test_what_was_passed_over_hides_nothing() -> None:
    """The middle window resembles both others, which do not resemble each other."""
    chain = [np.concatenate([TEXT, TEXT + 50])[start : start + 32] for start in (0, 16, 32)]
    assert taken(chain, [(EXPLAIN, TOP)] * 3) == [True, False, True]


def test_documents_and_quotas() -> None:
    texts = [TEXT + 100 * index for index in range(4)]
    assert taken(texts, [(EXPLAIN, TOP)] * 4, documents=[1, 1, 2, 3], quota=2) == [True, False, True, False]
    both = [(EXPLAIN, TOP), (EXPLAIN, TOP), (REPORT, TOP), (REPORT, TOP)]
    assert taken(texts, both, documents=[1, 2, 1, 2], quota=1) == [True, False, True, False]


def test_windows_shorter_than_a_run() -> None:
    windows = [np.array([1, 2]), np.array([1, 2]), np.array([1, 3])]
    assert taken(windows, [(EXPLAIN, TOP)] * 3) == [True, False, True]
