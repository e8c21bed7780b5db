"""When a night ends, and how much still fits."""

from datetime import UTC, datetime, timedelta

import pytest

from thresher.contracts.errors import SpecError
from thresher.labeling.nightly.spec import WindowSpec
from thresher.labeling.nightly.windows import BUDGET_IS_OUT, TIME_IS_UP, Remaining, deadline

EVENING = datetime(2026, 3, 28, 21, 0, tzinfo=UTC)  # 22:00 in Zurich, the night before its clocks go forward


@pytest.mark.parametrize(
    ("windows", "hours"),
    [
        ({}, None),
        ({"max_wall_s": 3600}, 1),
        ({"until": "06:00"}, 9),
        ({"until": "21:00"}, 24),
        ({"until": "06:00", "max_wall_s": 7200}, 2),
        ({"until": "06:00", "timezone": "Europe/Zurich"}, 7),  # 06:00 summer time
    ],
)
def test_the_earlier_end_holds(windows, hours) -> None:
    end = deadline(WindowSpec.parse(windows), EVENING)
    assert end == (None if hours is None else EVENING + timedelta(hours=hours))


@pytest.mark.parametrize(
    "windows", [{"until": "25:00"}, {"until": "6"}, {"until": "06:00", "timezone": "Mars"}]
)
def test_what_is_no_time_is_refused(windows) -> None:
    with pytest.raises(SpecError, match=r"until|timezone"):
        WindowSpec.parse(windows)


@pytest.mark.parametrize(
    ("remaining", "tokens", "seconds", "fits"),
    [
        (Remaining(None, None), 10.0, 1.0, None),
        (Remaining(None, 99), 10.0, None, 9),
        (Remaining(5.0, None), 10.0, 2.0, 2),
        (Remaining(5.0, 15), 10.0, 2.0, 1),
        (Remaining(0.0, None), 10.0, None, 0),
        (Remaining(-1.0, 99), 10.0, None, 0),
    ],
)
def test_what_fits(remaining, tokens, seconds, fits) -> None:
    assert remaining.num_fitting(tokens, seconds) == fits


def test_the_window_at_fault_is_named() -> None:
    assert Remaining(5.0, 9).why_not(10.0) == BUDGET_IS_OUT
    assert Remaining(5.0, 11).why_not(10.0) == TIME_IS_UP
