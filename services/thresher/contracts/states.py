"""What became of a label or a score. Never a zero in place of a failure."""

from enum import StrEnum


class State(StrEnum):
    OK = "ok"
    DEAD = "dead"
    TOO_RARE = "too_rare"
    REFUSED = "refused"
    UNPARSABLE = "unparsable"
    API_ERROR = "api_error"
    OVER_BUDGET = "over_budget"
    UNQUALIFIED = "unqualified"
    """A score of a simulator that cannot tell true descriptions from false ones."""
    UNDEFINED = "undefined"
    """A score whose statistic does not exist, such as the correlation with a constant."""
