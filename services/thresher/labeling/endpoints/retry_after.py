"""How long a server asks to be left alone."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait; None where the headers say nothing that can be read. Header names are in lower case.

    `Retry-After` holds seconds or an HTTP date (RFC 9110, section 10.2.3); `retry-after-ms`, which some services
    send beside it, is finer and goes first.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        due = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (due.replace(tzinfo=due.tzinfo or UTC) - now).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None
