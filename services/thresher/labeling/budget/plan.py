"""What a run will take, before anything is spent: calls, tokens and cost, from the prompts of a few features."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from thresher.contracts.states import State
from thresher.labeling.budget.prices import Charge, PriceTable, Usage
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.exemplars.book import ExemplarBook
from thresher.labeling.exemplars.evidence import Evidence
from thresher.labeling.explainers.choice import CandidateChooser
from thresher.labeling.explainers.explainer import Explainer
from thresher.labeling.scorers.calibration import simulators_to_calibrate
from thresher.labeling.scorers.scorer import Scorer
from thresher.labeling.selection import SelectedFeature
from thresher.labeling.spec import LabelSpec

SAMPLE_SIZE = 8
TYPICAL_LABEL = "references to the names of places and people"


@dataclass(frozen=True)
class PurposePlan:
    """Of explaining, or of a score type with its baseline."""

    num_calls: int
    num_prompt_tokens: int
    num_completion_tokens: int
    cost: float | None


@dataclass(frozen=True)
class Plan:
    """An upper estimate: every answer as long as it may be, and none of them stored yet.

    Args:
        num_features: selected, dead and rare ones included.
        num_asked: of them, those that a model is asked about.
        num_sampled: whose prompts the estimate is made from.
    """

    num_features: int
    num_asked: int
    num_sampled: int
    by_purpose: dict[str, PurposePlan]
    currency: str

    @property
    def num_calls(self) -> int:
        return sum(part.num_calls for part in self.by_purpose.values())

    @property
    def num_tokens(self) -> int:
        parts = self.by_purpose.values()
        return sum(part.num_prompt_tokens + part.num_completion_tokens for part in parts)

    @property
    def cost(self) -> float | None:
        costs = [part.cost for part in self.by_purpose.values()]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None

    def lines(self) -> list[str]:
        """For people."""
        head = (
            f"{self.num_asked:,} of {self.num_features:,} features will take at most about {self.num_calls:,} calls, "
            f"{self.num_tokens:,} tokens, {self._money(self.cost)} (from {self.num_sampled} features' prompts)."
        )
        parts = [
            f"  {purpose}: {part.num_calls:,} calls, {part.num_prompt_tokens:,} prompt and "
            f"{part.num_completion_tokens:,} completion tokens, {self._money(part.cost)}"
            for purpose, part in self.by_purpose.items()
        ]
        return [head, *parts]

    def to_json(self) -> str:
        totals = {"num_calls": self.num_calls, "num_tokens": self.num_tokens, "cost": self.cost}
        return json.dumps({**asdict(self), **totals}, indent=1)

    def _money(self, cost: float | None) -> str:
        return "no price given" if cost is None else f"{cost:,.2f} {self.currency}"


def sample_features(selected: Sequence[SelectedFeature]) -> list[int]:
    """A few of the features a model will be asked about, evenly over their numbers."""
    alive = [item.feature for item in selected if item.state == State.OK]
    last = len(alive) - 1
    places = sorted({last * step // (SAMPLE_SIZE - 1) for step in range(SAMPLE_SIZE)}) if alive else []
    return [alive[place] for place in places]


def plan_run(
    spec: LabelSpec,
    explainer: Explainer,
    chooser: CandidateChooser,
    scorers: Sequence[Scorer],
    book: ExemplarBook,
    selected: Sequence[SelectedFeature],
) -> tuple[Plan, list[ModelRequest]]:
    """The plan, and the requests of the sampled features that it was made from.

    Args:
        book: needs to hold the sampled features alone.
    """
    sample = sample_features(selected)
    num_asked = sum(item.state == State.OK for item in selected)
    asked = [
        found
        for feature in sample
        for found in _asked(spec, explainer, chooser, scorers, book.evidence(feature))
    ]
    scale = num_asked / len(sample) if sample else 0.0
    prices = spec.prices
    by_purpose = {
        purpose: _purpose_plan([found for found in asked if found[0].purpose == purpose], scale, prices)
        for purpose in dict.fromkeys(request.purpose for request, _ in asked)
    }
    plan = Plan(len(selected), num_asked, len(sample), by_purpose, spec.budget.currency)
    return plan, [request for request, _ in asked]


def _asked(
    spec: LabelSpec,
    explainer: Explainer,
    chooser: CandidateChooser,
    scorers: Sequence[Scorer],
    evidence: Evidence,
) -> Iterator[tuple[ModelRequest, int]]:
    """What a feature will be asked about, and how often: shuffled labels are asked about as its own is."""
    explaining = explainer.requests(evidence)
    for request in explaining:
        yield request, 1
    for request in chooser.requests(evidence, TYPICAL_LABEL):
        yield request, len(explaining)
    for simulator in simulators_to_calibrate(scorers):
        trials = simulator.calibration_trials(evidence.feature, evidence.of("calibrate"))
        for request in simulator.requests(TYPICAL_LABEL, trials):
            yield request, 1
    for scorer in scorers:
        times = 1 + spec.baseline.num_shuffles if scorer.uses_label else 1
        for request in scorer.requests(TYPICAL_LABEL, scorer.trials(evidence.feature, evidence.of("report"))):
            yield request, times


def _purpose_plan(asked: Sequence[tuple[ModelRequest, int]], scale: float, prices: PriceTable) -> PurposePlan:
    usage, charge = Usage(), Charge()
    for request, times in asked:
        most = Usage(times * request.max_prompt_tokens, times * request.max_completion_tokens)
        usage += most
        charge += prices.charge(request.model, most)
    return PurposePlan(
        num_calls=round(scale * sum(times for _, times in asked)),
        num_prompt_tokens=round(scale * usage.num_prompt_tokens),
        num_completion_tokens=round(scale * usage.num_completion_tokens),
        cost=None if charge.cost is None else scale * charge.cost,
    )
