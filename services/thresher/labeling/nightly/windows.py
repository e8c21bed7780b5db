"""The windows of a night: when it ends, and what it may still spend."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from thresher.labeling.nightly.spec import WindowSpec

TIME_IS_UP = "the time window closed"
BUDGET_IS_OUT = "the token budget does not reach for another feature"


def deadline(spec: WindowSpec, started_at: datetime) -> datetime | None:
    """The earlier of the two ends that a spec may set; None if it sets none. `started_at` has its time zone."""
    ends = []
    if spec.max_wall_s is not None:
        ends.append(started_at + timedelta(seconds=spec.max_wall_s))
    if spec.until is not None:
        ends.append(_next_time_of_day(spec.until, spec.timezone, started_at))
    return min((end.astimezone(UTC) for end in ends), default=None)


def _next_time_of_day(text: str, zone: str, after: datetime) -> datetime:
    local = after.astimezone(ZoneInfo(zone))
    end = datetime.combine(local.date(), time.fromisoformat(text), ZoneInfo(zone))
    if end <= local:
        end = datetime.combine(local.date() + timedelta(days=1), time.fromisoformat(text), ZoneInfo(zone))
    return end


@dataclass(frozen=True)
class Remaining:
    """What is left of a night's windows; None where there is no limit."""

    seconds: float | None
    tokens: int | None

    def num_fitting(self, tokens_a_feature: float, seconds_a_feature: float | None) -> int | None:
        """How many features fit, by what one takes; None if nothing limits them."""
        fits = []
        if self.tokens is not None:
            fits.append(int(self.tokens / max(tokens_a_feature, 1.0)))
        if self.seconds is not None:
            fits.append(0 if self.seconds <= 0 else int(self.seconds / max(seconds_a_feature or 0.0, 1e-9)))
        return min(fits, default=None)

    def why_not(self, tokens_a_feature: float) -> str:
        """Which window a feature does not fit into."""
        short_of_tokens = self.tokens is not None and self.tokens < tokens_a_feature
        return BUDGET_IS_OUT if short_of_tokens else TIME_IS_UP
