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
    SCREENED_OUT = "screened_out"
    """A score that was not asked for, since a cheaper one had found nothing in the label."""
    UNDEFINED = "undefined"
    """A score whose statistic does not exist, such as the correlation with a constant."""
