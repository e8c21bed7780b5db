"""The limit against a simulated server that refuses beyond a capacity."""

import pytest

from thresher.labeling.endpoints.concurrency import START, AdaptiveLimit


def rounds(limit: AdaptiveLimit, capacity: int, count: int, start_s: float = 0.0) -> list[int]:
    """Rounds of one second: as many requests as allowed, those beyond the capacity refused."""
    seen = []
    for second in range(count):
        sent, now_s = limit.limit, start_s + second
        seen.append(sent)
        for index in range(sent):
            if index < capacity:
                limit.succeeded(now_s, now_s + 0.9, sent)
            else:
                limit.congested(now_s, now_s + 0.9)
    return seen


def test_it_doubles_up_to_the_maximum() -> None:
    assert rounds(AdaptiveLimit(32, 60), 99, 5) == [4, 8, 16, 32, 32]


@pytest.mark.parametrize("capacity", [2, 5, 11, 23])
def test_it_settles_at_the_capacity(capacity) -> None:
    seen = rounds(AdaptiveLimit(64, 60), capacity, 200)[50:]
    assert 0.6 * capacity <= sum(seen) / len(seen) <= capacity + 1
    refused = sum(max(0, sent - capacity) for sent in seen)
    assert refused < 0.2 * sum(seen)


def test_one_round_of_refusals_is_one_decrease() -> None:
    limit = AdaptiveLimit(32, 60)
    rounds(limit, 99, 4)
    for _ in range(10):
        limit.congested(10.0, 10.5)
    assert limit.limit == 16


def test_a_limit_that_is_not_reached_does_not_grow() -> None:
    limit = AdaptiveLimit(32, 60)
    for second in range(50):
        limit.succeeded(second, second + 0.1, num_in_flight=1)
    assert limit.limit == START


def test_answers_near_the_timeout_count_as_congestion() -> None:
    limit = AdaptiveLimit(32, 10)
    rounds(limit, 99, 4)
    limit.succeeded(20.0, 26.0, 32)
    assert limit.limit == 16


def test_it_never_falls_below_one() -> None:
    limit = AdaptiveLimit(4, 60)
    for second in range(20):
        limit.congested(second, second + 0.5)
    assert limit.limit == 1
