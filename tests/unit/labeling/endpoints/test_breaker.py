import logging

from thresher.labeling.endpoints.breaker import MAX_FAILURES, CircuitBreaker


def opened(now_s: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker("http://a/v1")
    for _ in range(MAX_FAILURES):
        breaker.failed("HTTP 500", now_s)
    return breaker


def test_failures_in_a_row_open_it_and_an_answer_between_does_not() -> None:
    breaker = CircuitBreaker("a")
    for _ in range(3):
        for _ in range(MAX_FAILURES - 1):
            breaker.failed("HTTP 500", 0)
        breaker.succeeded()
    assert breaker.state == "closed"
    assert opened().state == "open"


def test_one_trial_closes_it_or_opens_it_for_twice_as_long() -> None:
    breaker = opened()
    waits = []
    for _ in range(9):
        now_s = breaker.opens_at_s()
        assert now_s is not None
        breaker.begin()
        assert breaker.state == "half_open"
        assert breaker.opens_at_s() is None, "no second one meanwhile"
        breaker.failed("HTTP 500", now_s)
        waits.append(breaker.opens_at_s() - now_s)
    assert [
        0.74 < wait / expected <= 1
        for wait, expected in zip(waits, (2, 4, 8, 16, 32, 60, 60, 60, 60), strict=True)
    ] == [True] * 9
    breaker.begin()
    breaker.succeeded()
    assert (breaker.state, breaker.num_trips) == ("closed", 0)


def test_what_was_in_flight_when_it_opened_does_not_open_it_again() -> None:
    breaker = opened()
    until_s = breaker.opens_at_s()
    breaker.failed("HTTP 500", 0.5)
    assert (breaker.num_trips, breaker.opens_at_s()) == (1, until_s)


def test_a_cancelled_trial_says_nothing() -> None:
    breaker = opened()
    breaker.begin()
    breaker.abandon()
    assert breaker.state == "open"
    breaker.begin()
    assert breaker.state == "half_open"


def test_it_says_what_it_does(caplog) -> None:
    with caplog.at_level(logging.INFO):
        breaker = opened()
        breaker.begin()
        breaker.succeeded()
    said = "\n".join(caplog.messages)
    assert "http://a/v1 is left out for 1 s and then tried again: HTTP 500" in said
    assert "tried again with one request" in said
    assert "answers again: it is back in" in said
