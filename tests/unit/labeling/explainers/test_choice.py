"""Best of N: on the select split alone, with ties and failures as stated."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from thresher.contracts.states import State
from thresher.labeling.budget.budget import BudgetExhaustedError
from thresher.labeling.endpoints.requests import ModelRequest, RequestFailedError
from thresher.labeling.exemplars.evidence import Evidence
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.explainers.choice import CandidateChooser, Chosen
from thresher.labeling.explainers.explainer import Candidate, Provenance
from thresher.labeling.explainers.phrase import Phrase
from thresher.labeling.scorers.outcome import Outcome
from thresher.labeling.scorers.statistics import Estimate


class GivenScores:
    """A scorer that knows what it says of each label, and remembers on what it was asked."""

    def __init__(self, scores: dict[str, float | Exception | None]) -> None:
        self._scores, self.documents, self.asked = scores, set[str](), list[str]()

    def contexts(self, exemplars: Sequence[Exemplar]) -> list[Exemplar]:
        return list(exemplars)

    def requests(self, label: str, contexts: Sequence[Exemplar]) -> list[ModelRequest]:
        return [
            ModelRequest("detection", "m", "1", {"prompt": [label, item.doc_id]}, 10) for item in contexts
        ]

    async def score(self, label: str, contexts: Sequence[Exemplar]) -> Outcome:
        self.documents |= {item.doc_id for item in contexts}
        self.asked.append(label)
        value = self._scores[label]
        if isinstance(value, Exception):
            raise value
        state = State.UNDEFINED if value is None else State.OK
        return Outcome(state, Estimate(value, None, None), 1, 0, "")


def candidate(text: str | None, state: State = State.OK) -> Candidate:
    return Candidate(Phrase(state, text), Provenance("activations", "m", "1", "p", f"{text}"), ())


def evidence(num_select: int = 3) -> Evidence:
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
    scores: dict[str, float | Exception | None], *candidates: Candidate, num_select: int = 3
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
    chosen, _ = choose({"a": failure, "b": -0.9}, *map(candidate, "ab"))
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
    chosen, scorer = choose({}, *map(candidate, "ab"), num_select=1)
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
