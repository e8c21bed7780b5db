"""What a run will cost, before anything is spent."""

from collections.abc import Sequence
from statistics import fmean

from thresher.contracts.states import State
from thresher.labeling.exemplars.book import ExemplarBook
from thresher.labeling.explainers.explainer import Explainer
from thresher.labeling.scorers.scorer import Scorer
from thresher.labeling.selection import SelectedFeature

SAMPLE_SIZE = 8
TYPICAL_LABEL = "references to the names of places and people"


def estimate_tokens(
    book: ExemplarBook,
    selected: Sequence[SelectedFeature],
    explainer: Explainer,
    scorers: Sequence[Scorer],
    num_shuffles: int,
) -> int:
    """Prompt and completion tokens of the whole run, from the prompts of its first features."""
    alive = [item.feature for item in selected if item.state == State.OK]
    if not alive:
        return 0
    costs = [_feature_tokens(book, item, explainer, scorers, num_shuffles) for item in alive[:SAMPLE_SIZE]]
    return round(fmean(costs) * len(alive))


def _feature_tokens(
    book: ExemplarBook,
    feature: int,
    explainer: Explainer,
    scorers: Sequence[Scorer],
    num_shuffles: int,
) -> int:
    evidence = book.evidence(feature)
    num_explain = sum(request.max_total_tokens for request in explainer.requests(evidence))
    report = evidence.of("report")
    num_score = sum(
        request.max_total_tokens
        for scorer in scorers
        for request in scorer.requests(TYPICAL_LABEL, scorer.trials(feature, report))
    )
    return num_explain + (1 + num_shuffles) * num_score
