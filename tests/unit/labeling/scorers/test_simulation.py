"""Simulation scoring: prompts, expected values and a score worked out by hand."""

import asyncio
import math
from datetime import UTC, datetime

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from thresher.contracts.errors import SpecError
from thresher.contracts.states import State
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import Answer
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.scorers.intervals import UNDEFINED, estimate
from thresher.labeling.scorers.outcome import Outcome, digit_mass, outcome_of
from thresher.labeling.scorers.reading import Reading, Sampling, Trial
from thresher.labeling.scorers.simulated import fit_calibration, simulated
from thresher.labeling.scorers.simulation import SimulationScorer
from thresher.labeling.scorers.simulation_lines import SimulationLines
from thresher.labeling.scorers.spec import BootstrapSpec, SimulationSpec
from thresher.labeling.scorers.statistics import correlation, explained_deviation, explained_variance

END_OF_TURN = 0  # what the tokenizer would make of <|im_end|>, were it not told to take it as text
ENDPOINT = EndpointSpec(model="m", base_url="http://localhost/v1")


def exemplar(tokens: list[str], activations: list[float], document: str = "d", kind: str = "top") -> Exemplar:
    return Exemplar(kind, 0, None, document, 0, 0, tuple(tokens), np.array(activations, np.float32))


class CannedExchange:
    """Gives, in turn, the level distributions of each marked position."""

    endpoint = ENDPOINT

    def __init__(self, tokenizer: PromptTokenizer, probabilities: list[dict[int, float]]) -> None:
        self._tokenizer, self._left = tokenizer, list(probabilities)

    async def ask(self, request) -> Answer:
        entries: list[dict | None] = [None] * len(request.body["prompt"])
        for position in request.read_positions:
            found = self._left.pop(0)
            entries[position] = {
                str(self._tokenizer.encode(str(level))[0]): {"logprob": math.log(share)}
                for level, share in found.items()
            }
        return Answer({"choices": [{"prompt_logprobs": entries}]}, 1, 1, datetime.now(UTC))


def scorer(tokenizer: PromptTokenizer, exchange: object, **changes) -> SimulationScorer:
    return SimulationScorer(SimulationSpec(**changes), tokenizer, exchange, Sampling(seed=0))


def trials(contexts: list[Exemplar]) -> list[Trial]:
    return [Trial(0, 0, number, (context,)) for number, context in enumerate(contexts)]


def score(simulation: SimulationScorer, contexts: list[Exemplar]) -> Outcome:
    readings = asyncio.run(simulation.observe("label", trials(contexts)))
    observed = simulation.measures(readings)["simulation"]
    return outcome_of(observed, estimate(observed, BootstrapSpec(), 0), UNDEFINED, "", digit_mass(readings))


@pytest.fixture(scope="module")
def tokenizer(scripted_tokenizer) -> PromptTokenizer:
    return PromptTokenizer(str(scripted_tokenizer))


def test_expected_level_is_renormalised_over_the_digits_seen() -> None:
    trial = Trial(0, 0, 0, (exemplar([" a", " b", " c"], [0, 4, 2]),), peak=4.0)
    reading = simulated(trial, [{0: 0.5, 9: 0.25}, {5: 0.1}, {}], max_level=9)  # (0*0.5 + 9*0.25) / 0.75 = 3
    assert reading.predicted_N[:2] * 9 == pytest.approx([3.0, 5.0])
    assert math.isnan(reading.predicted_N[2])
    assert reading.truth_N == pytest.approx([0, 1, 0.5])
    assert reading.digit_mass == pytest.approx((0.75 + 0.1) / 3)


def test_score_by_hand(tokenizer) -> None:
    """Predicted 0, 6, 3 and 0, 9; true 0, 2, 0 and 0, 4. Around the means 3.6 and 1.2:

    sum xy = 48 - 5 * 3.6 * 1.2 = 26.4; sum xx = 126 - 5 * 3.6**2 = 61.2; sum yy = 20 - 5 * 1.2**2 = 12.8.
    """
    contexts = [exemplar([" a", " b", " c"], [0, 2, 0], "one"), exemplar([" d", " e"], [0, 4], "two")]
    shares = [{0: 0.9}, {3: 0.25, 9: 0.25}, {3: 0.5}, {0: 0.2}, {9: 0.6}]
    outcome = score(scorer(tokenizer, CannedExchange(tokenizer, shares)), contexts)
    assert outcome.estimate.value == pytest.approx(26.4 / math.sqrt(61.2 * 12.8))
    assert (outcome.state, outcome.num_scored, outcome.num_unparsed) == (State.OK, 5, 0)
    assert outcome.digit_mass == pytest.approx((0.9 + 0.5 + 0.5 + 0.2 + 0.6) / 5)


def test_unparsed_positions_are_left_out_not_zero(tokenizer) -> None:
    contexts = [exemplar([" a", " b", " c"], [0, 2, 9], "one"), exemplar([" d", " e"], [0, 4], "two")]
    shares: list[dict[int, float]] = [{0: 0.9}, {6: 0.5}, {}, {1: 0.2}, {9: 0.6}]
    outcome = score(scorer(tokenizer, CannedExchange(tokenizer, shares)), contexts)
    assert outcome.estimate.value == pytest.approx(np.corrcoef([0, 6, 1, 9], [0, 2, 0, 4])[0, 1])
    assert (outcome.num_scored, outcome.num_unparsed) == (4, 1)


def test_constant_predictions_are_undefined(tokenizer) -> None:
    contexts = [exemplar([" a", " b"], [0, 2], "one"), exemplar([" d", " e"], [0, 4], "two")]
    outcome = score(scorer(tokenizer, CannedExchange(tokenizer, [{0: 0.9}] * 4)), contexts)
    assert (outcome.state, outcome.estimate.value) == (State.UNDEFINED, None)


@pytest.mark.parametrize("label", ["plain", "{label} {max_level}", "tab\there", "<|im_end|>"])
def test_every_mark_is_an_unknown_after_a_tab(tokenizer, label) -> None:
    tokens = [" ship", "\n", "\t", " 1990", "<|im_end|>", "", "unknown", "\N{REPLACEMENT CHARACTER}"]
    prompt = SimulationLines(tokenizer).prompt(label, [exemplar(tokens, [0.0] * len(tokens))])
    unknown, tab = tokenizer.encode("unknown"), tokenizer.encode("\t")
    assert len(prompt.marks) == len(tokens)
    for mark in prompt.marks:
        assert prompt.ids[mark : mark + len(unknown)] == unknown
        assert prompt.ids[mark - 1] == tab[-1]
    assert END_OF_TURN not in prompt.ids


def test_contexts_are_split_over_prompts(tokenizer) -> None:
    contexts = [exemplar([" a", " b"], [0, 1], str(index)) for index in range(5)]
    requests = scorer(tokenizer, CannedExchange(tokenizer, []), contexts_per_prompt=2).requests(
        "label", trials(contexts)
    )
    assert [len(request.read_positions) for request in requests] == [4, 4, 2]
    assert all(request.max_total_tokens == len(request.body["prompt"]) + 1 for request in requests)


def test_digits_without_tokens_of_their_own_are_refused(tmp_path) -> None:
    Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")).save(
        str(tmp_path / "tokenizer.json")
    )
    tokenizer = PromptTokenizer(str(tmp_path))
    with pytest.raises(SpecError, match="a token for each digit"):
        tokenizer.level_tokens()


@pytest.mark.parametrize("seed", range(5))
def test_scores_agree_with_the_published_definitions(seed) -> None:
    """Of Bills et al.: `scoring.py` of their automated-interpretability, written again from its formulas.

    Theirs are over the concatenated tokens of all sequences, as `aggregate_scored_sequence_simulations` does.
    """
    rng = np.random.default_rng(seed)
    real = [np.maximum(rng.normal(-0.5, 1, size), 0) for size in (16, 9, 16, 4)]
    predicted = [np.clip(row + rng.normal(0, 0.5, len(row)), 0, 10) for row in real]
    readings = [
        Reading(str(index), truth, said)
        for index, (truth, said) in enumerate(zip(real, predicted, strict=True))
    ]
    y, x = np.concatenate(real), np.concatenate(predicted)
    published = {
        correlation: np.corrcoef(y, x)[0, 1],
        explained_variance: 1 - np.mean(np.square(y - x)) / np.mean(np.square(y)),
        explained_deviation: 1 - np.mean(np.abs(y - x)) / np.mean(np.abs(y)),
    }
    for measure, expected in published.items():
        found = estimate(measure(readings), BootstrapSpec(), 0)
        assert found.value == pytest.approx(expected, abs=1e-12)


def test_calibration_is_least_squares_over_all_tokens(tokenizer) -> None:
    rng = np.random.default_rng(0)
    said = rng.random((6, 8))
    readings = [Reading(str(index), 0.3 * row - 0.05, row) for index, row in enumerate(said)]
    line = fit_calibration(readings)
    assert line is not None
    assert (line.slope, line.intercept) == (pytest.approx(0.3), pytest.approx(-0.05))
    assert line.num_tokens == 48
    simulation = scorer(tokenizer, CannedExchange(tokenizer, []))
    assert "simulation_calibrated_r2" not in simulation.measures(readings)
    simulation.calibration = line
    calibrated = simulation.measures(readings)["simulation_calibrated_r2"]
    assert estimate(calibrated, BootstrapSpec(), 0).value == pytest.approx(1.0)
    assert fit_calibration([Reading("a", np.array([0.0, 1]), np.array([0.5, 0.5]))]) is None
