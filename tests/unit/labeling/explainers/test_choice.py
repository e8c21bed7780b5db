"""Best of N: on the select split alone, with ties and failures as stated."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from thresher.contracts.states import State
from thresher.labeling.budget.budget import BudgetExhaustedError
from thresher.labeling.endpoints.requests import ModelRequest, RequestFailedError
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.exemplars.evidence import Evidence
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.explainers.choice import CandidateChooser, Chosen
from thresher.labeling.explainers.explainer import Candidate, Provenance
from thresher.labeling.explainers.phrase import Phrase
from thresher.labeling.scorers.observations import Observations
from thresher.labeling.scorers.reading import Reading, Trial
from thresher.labeling.scorers.statistics import accuracy


class GivenScores:
    """A scorer that knows what it says of each label, and remembers on what it was asked."""

    name, prompt_sha256 = "detection", "p"
    endpoint = EndpointSpec(model="m", base_url="http://localhost/v1")

    def __init__(self, scores: dict[str, float | Exception | None]) -> None:
        self._scores, self.documents, self.asked = scores, set[str](), list[str]()

    def trials(self, feature: int, exemplars: Sequence[Exemplar]) -> list[Trial]:
        """The last text is of a second batch, which is not for choices."""
        last = len(exemplars) - 1
        return [Trial(feature, int(index == last), index, (item,)) for index, item in enumerate(exemplars)]

    def requests(self, label: str, trials: Sequence[Trial]) -> list[ModelRequest]:
        return [
            ModelRequest("detection", "m", "1", {"prompt": [label, item.document]}, 10) for item in trials
        ]

    async def observe(self, label: str, trials: Sequence[Trial]) -> list[Reading]:
        """As many right of a hundred texts as the score says."""
        self.documents |= {item.document for item in trials}
        self.asked.append(label)
        score = self._scores[label]
        if isinstance(score, Exception):
            raise score
        said = np.full(100, np.nan) if score is None else np.arange(100) < 100 * score
        return [Reading("d", np.ones(1), np.array([float(one)])) for one in said]

    def measures(self, readings: Sequence[Reading]) -> dict[str, Observations]:
        return {self.name: accuracy(readings)}


def candidate(text: str | None, state: State = State.OK) -> Candidate:
    return Candidate(Phrase(state, text), Provenance("activations", "m", "1", "p", f"{text}"), ())


def evidence(num_select: int = 4) -> Evidence:
    def texts(split: str, count: int) -> tuple[Exemplar, ...]:
        return tuple(
            Exemplar("top", rank, None, f"{split}-{rank}", rank, 0, (" a",), np.ones(1, np.float32))
            for rank in range(count)
        )

    return Evidence(
        1,
        0.1,
        {"explain": texts("explain", 3), "select": texts("select", num_select), "report": texts("report", 3)},
    )


def choose(
    scores: dict[str, float | Exception | None], *candidates: Candidate, num_select: int = 4
) -> tuple[Chosen, GivenScores]:
    scorer = GivenScores(scores)
    return asyncio.run(CandidateChooser(scorer).choose(candidates, evidence(num_select))), scorer


def test_the_highest_score_on_select_documents_wins() -> None:
    chosen, scorer = choose({"a": 0.5, "b": 0.9, "c": 0.7}, *map(candidate, "abc"))
    assert (chosen.candidate.phrase.text, chosen.num_candidates) == ("b", 3)
    assert scorer.documents == {"select-0", "select-1", "select-2"}


def test_of_equal_scores_the_first_wins() -> None:
    assert choose({"a": 0.1, "b": 0.9, "c": 0.9}, *map(candidate, "abc"))[0].candidate.phrase.text == "b"


@pytest.mark.parametrize("failure", [None, RequestFailedError("no")])
def test_candidates_without_a_score_rank_last(failure) -> None:
    chosen, _ = choose({"a": failure, "b": 0.0}, *map(candidate, "ab"))
    assert (chosen.candidate.phrase.text, chosen.num_candidates) == ("b", 2)
    assert choose({"a": failure, "b": failure}, *map(candidate, "ab"))[0].candidate.phrase.text == "a"


def test_equal_texts_are_scored_once_and_counted_once() -> None:
    chosen, scorer = choose({"Sea": 0.5, "b": 0.1}, *map(candidate, ["Sea", "b", "sea", "Sea"]))
    assert (chosen.candidate.phrase.text, chosen.num_candidates) == ("Sea", 2)
    assert scorer.asked == ["Sea", "b"]


def test_one_usable_candidate_needs_no_score() -> None:
    unusable = candidate(None, State.UNPARSABLE)
    chosen, scorer = choose({}, unusable, candidate("a"), unusable)
    assert (chosen.candidate.phrase.text, chosen.num_candidates) == ("a", 1)
    assert scorer.asked == []


def test_too_few_select_texts_cannot_tell() -> None:
    chosen, scorer = choose({}, *map(candidate, "ab"), num_select=2)
    assert (chosen.candidate.phrase.text, chosen.num_candidates) == ("a", 1)
    assert scorer.asked == []


def test_a_choice_cut_short_by_the_budget_is_none() -> None:
    chosen, _ = choose({"a": 0.9, "b": BudgetExhaustedError("out")}, *map(candidate, "ab"))
    assert chosen.candidate.phrase.state == State.OVER_BUDGET
    assert chosen.candidate.phrase.text is None


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ([State.UNPARSABLE, State.REFUSED], State.REFUSED),
        ([State.UNPARSABLE, State.API_ERROR, State.REFUSED], State.API_ERROR),
        ([State.API_ERROR, State.OVER_BUDGET], State.OVER_BUDGET),
        ([State.UNDEFINED, State.UNPARSABLE], State.UNPARSABLE),
    ],
)
def test_without_a_usable_candidate_what_can_be_mended_is_said_first(states, state) -> None:
    chosen, _ = choose({}, *(candidate(None, item) for item in states))
    assert chosen.candidate.phrase.state == state


def test_without_a_scorer_the_first_usable_stands() -> None:
    candidates = [candidate(None, State.REFUSED), candidate("a")]
    chosen = asyncio.run(CandidateChooser(None).choose(candidates, evidence()))
    assert (chosen.candidate.phrase.text, chosen.num_candidates) == ("a", 1)
