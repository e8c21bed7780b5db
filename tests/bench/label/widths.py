"""How wide the intervals are that a side's answers give, and how many calls a given width takes.

Delphi gives no interval: its answers get the one that thresher's get, of balanced accuracy over documents.
"""

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

import numpy as np

from thresher.labeling.scorers.intervals import estimate
from thresher.labeling.scorers.reading import Reading
from thresher.labeling.scorers.spec import BootstrapSpec
from thresher.labeling.scorers.statistics import balanced_accuracy

REFERENCE_WIDTH = 0.2


def of_scores(scores: Sequence[dict[str, Any]], score_type: str) -> dict[str, Any]:
    """Of thresher's own rows, true labels alone."""
    rows = [row for row in scores if row["score_type"] == score_type and not row["shuffled"]]
    found = [row for row in rows if row["ci_low"] is not None]
    summary = _summary([(row["value"], row["ci_high"] - row["ci_low"]) for row in found])
    lifts = [row["lift_high"] - row["lift_low"] for row in rows if row["lift_low"] is not None]
    return summary | {
        "contexts": fmean(row["n"] for row in rows) if rows else 0,
        "unparsed": fmean(row["n_unparsed"] for row in rows) if rows else 0,
        "lift_width": median(lifts) if lifts else None,
    }


def of_answers(answers: Sequence[dict[str, Any]], score_type: str, seed: int) -> dict[str, Any]:
    """Of Delphi's answers about single examples."""
    of_type = [answer for answer in answers if answer["score_type"] == score_type]
    features = sorted({answer["feature"] for answer in of_type})
    found = [
        estimate(
            balanced_accuracy([_reading(item) for item in of_type if item["feature"] == feature]),
            BootstrapSpec(),
            seed,
        )
        for feature in features
    ]
    intervals = [
        (item.value, item.width) for item in found if item.value is not None and item.width is not None
    ]
    num_unparsed = sum(item["prediction"] is None for item in of_type)
    return _summary(intervals) | {
        "contexts": (len(of_type) - num_unparsed) / max(len(features), 1),
        "unparsed": num_unparsed / max(len(features), 1),
        "lift_width": None,
    }


def _reading(answer: dict[str, Any]) -> Reading:
    said = answer["prediction"]
    predicted_N = np.array([np.nan if said is None else float(said)])
    return Reading(answer["doc_id"], np.array([float(answer["activating"])]), predicted_N)


def _summary(intervals: Sequence[tuple[float, float]]) -> dict[str, Any]:
    if not intervals:
        return {"value": None, "width": None}
    return {
        "value": fmean(value for value, _ in intervals),
        "width": fmean(width for _, width in intervals),
    }


def calls_for_width(num_calls: float, width: float | None) -> float | None:
    """Calls that an interval of REFERENCE_WIDTH would take, a width falling with the root of the calls."""
    return None if width is None else num_calls * (width / REFERENCE_WIDTH) ** 2
