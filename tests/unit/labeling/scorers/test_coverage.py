"""How often an interval of 95 % holds the truth, over synthetic features; the figures stand in docs/label.md.

Each draw is a feature of a population whose true score is computed from 20,000 documents. 600 draws have a standard
error of 0.9 points at 95 %.
"""

from collections.abc import Callable

import numpy as np
import pytest

from thresher.labeling.scorers.intervals import Estimate, estimate, lift
from thresher.labeling.scorers.observations import Observations
from thresher.labeling.scorers.reading import Reading
from thresher.labeling.scorers.spec import BootstrapSpec
from thresher.labeling.scorers.statistics import auroc, balanced_accuracy, correlation, precision, recall

pytestmark = pytest.mark.slow

NUM_DRAWS, NUM_LARGE = 600, 20_000
BOOTSTRAP = BootstrapSpec(num_resamples=200)
TOKENS, TEXTS = 16, 5
MIX = "tttqqnnn"


def simulated(rng: np.random.Generator, mix: str, quality: tuple[float, float]) -> list[Reading]:
    """Documents of strong, weak and no activations, each noticed to another degree, with false alarms."""
    found = []
    for number, kind in enumerate(mix):
        truth = np.zeros(TOKENS)
        if kind != "n":
            places = rng.choice(TOKENS, rng.integers(1, 4), replace=False)
            truth[places] = rng.lognormal(0 if kind == "t" else -1, 0.4) * rng.uniform(0.4, 1, len(places))
        noticed = rng.random(TOKENS) < rng.beta(*quality)
        alarm = rng.random(TOKENS) < 0.02 * rng.exponential()
        said = 9.0 * ((truth > 0) & noticed) + alarm * rng.uniform(2, 9, TOKENS) + rng.normal(0, 0.3, TOKENS)
        found.append(Reading(str(number), truth, said))
    return found


def judged(rng: np.random.Generator, count: int, hit: float, rejection: float) -> list[Reading]:
    truth = np.repeat([1.0, 0.0], count)
    right = rng.random(2 * count) < np.repeat([hit, rejection], count)
    return [
        Reading(str(index), truth[[index]], np.where(right, truth, 1 - truth)[[index]])
        for index in range(2 * count)
    ]


def ranked(rng: np.random.Generator, count: int, distance: float) -> list[Reading]:
    truth = np.repeat([1.0, 0.0], count)
    said = rng.normal(size=2 * count) + distance * truth
    return [Reading(str(index), truth[[index]], said[[index]]) for index in range(2 * count)]


def fired(rng: np.random.Generator, count: int, shares: tuple[float, float], agree: float) -> list[Reading]:
    """Draws of five texts that should fire and five that should not; texts of a draw share their chance of firing."""

    def chance(share: float) -> float:
        return rng.beta(share * (1 / agree - 1), (1 - share) * (1 / agree - 1))

    found = []
    for number in range(count):
        chance_N = np.repeat([chance(share) for share in shares], TEXTS)
        fires_N = rng.random(2 * TEXTS) < chance_N
        found.append(Reading(str(number), fires_N.astype(float), np.repeat([1.0, 0.0], TEXTS)))
    return found


def coverage(draw: Callable[[np.random.Generator], Estimate], truth: float) -> float:
    rng = np.random.default_rng(11)
    found = [draw(rng) for _ in range(NUM_DRAWS)]
    intervals = [(item.ci_low, item.ci_high) for item in found if item.ci_low is not None]
    assert len(intervals) > 0.9 * NUM_DRAWS
    share = float(np.mean([low <= truth <= high for low, high in intervals]))
    widths = np.mean([high - low for low, high in intervals])
    print(f"coverage {share:.3f}, mean width {widths:.2f}")
    return share


def truth_of(observed: Observations) -> float:
    value = estimate(observed, BootstrapSpec(num_resamples=100), 0).value
    assert value is not None
    return value


@pytest.mark.parametrize("num_mixes", [1, 2, 4])
@pytest.mark.parametrize("quality", [(8, 1), (2, 2), (1, 4)], ids=["good", "middling", "poor"])
def test_correlation(num_mixes, quality) -> None:
    truth = truth_of(correlation(simulated(np.random.default_rng(0), MIX * (NUM_LARGE // len(MIX)), quality)))
    found = coverage(
        lambda rng: estimate(correlation(simulated(rng, MIX * num_mixes, quality)), BOOTSTRAP, 0), truth
    )
    # A label that holds for few documents, which few documents seldom show: it falls short, and the docs say so.
    assert found > (0.80 if quality == (1, 4) and num_mixes < 4 else 0.88)


@pytest.mark.parametrize("count", [3, 5, 10])
@pytest.mark.parametrize(("hit", "rejection"), [(0.95, 0.95), (0.8, 0.6), (0.5, 0.5), (1.0, 0.7)])
def test_balanced_accuracy(count, hit, rejection) -> None:
    found = coverage(
        lambda rng: estimate(balanced_accuracy(judged(rng, count, hit, rejection)), BOOTSTRAP, 0),
        (hit + rejection) / 2,
    )
    assert found > 0.93


@pytest.mark.parametrize(("count", "distance"), [(5, 0.0), (5, 2.0), (10, 1.0)])
def test_auroc(count, distance) -> None:
    truth = truth_of(auroc(ranked(np.random.default_rng(0), 2000, distance)))
    found = coverage(lambda rng: estimate(auroc(ranked(rng, count, distance)), BOOTSTRAP, 0), truth)
    assert found > 0.93


@pytest.mark.parametrize("measure", [precision, recall])
@pytest.mark.parametrize("agree", [0.02, 0.2])
@pytest.mark.parametrize("shares", [(0.9, 0.05), (0.6, 0.1), (0.3, 0.2)])
def test_precision_and_recall_of_four_draws(measure, agree, shares) -> None:
    truth = truth_of(measure(fired(np.random.default_rng(0), NUM_LARGE // 4, shares, agree)))
    found = coverage(lambda rng: estimate(measure(fired(rng, 4, shares, agree)), BOOTSTRAP, 0), truth)
    assert found > 0.88


@pytest.mark.parametrize("count", [5, 10])
@pytest.mark.parametrize("hit", [0.5, 0.8, 0.95])
def test_lift(count, hit) -> None:
    def draw(rng: np.random.Generator) -> Estimate:
        own, other = (balanced_accuracy(judged(rng, count, share, 0.8)) for share in (hit, 0.4))
        return lift(own, [other], BOOTSTRAP, 0)

    assert coverage(draw, (hit - 0.4) / 2) > 0.93


@pytest.mark.parametrize("num_mixes", [1, 2])
def test_lift_of_correlations(num_mixes) -> None:
    large = MIX * (NUM_LARGE // len(MIX))

    def both(rng: np.random.Generator, mix: str) -> list[Observations]:
        good = simulated(rng, mix, (4, 2))
        blind = [Reading(item.document, item.truth_N, rng.permutation(item.predicted_N)) for item in good]
        return [correlation(good), correlation(blind)]

    own, other = both(np.random.default_rng(0), large)
    truth = truth_of(own) - truth_of(other)

    def draw(rng: np.random.Generator) -> Estimate:
        first, second = both(rng, MIX * num_mixes)
        return lift(first, [second], BOOTSTRAP, 0)

    assert coverage(draw, truth) > 0.88


@pytest.mark.parametrize(("hit", "rejection"), [(0.9, 0.8), (0.65, 0.6), (1.0, 0.75)])
def test_stopping_early_keeps_coverage(hit, rejection) -> None:
    """Looks after 4, 8 and 16 texts of each class, done at the first interval of at most 0.4."""

    def stopped(rng: np.random.Generator, num_looks: int) -> Estimate:
        everything = judged(rng, 16, hit, rejection)
        for count in (4, 8, 16):
            so_far = everything[:count] + everything[16 : 16 + count]
            found = estimate(balanced_accuracy(so_far), BOOTSTRAP, 0, num_looks)
            if found.width is not None and found.width <= 0.4:
                break
        return found

    truth = (hit + rejection) / 2
    adjusted = coverage(lambda rng: stopped(rng, 3), truth)
    assert adjusted > 0.95
    assert adjusted >= coverage(lambda rng: stopped(rng, 1), truth)
