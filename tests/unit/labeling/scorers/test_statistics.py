"""Statistics and their intervals against direct computation."""

import numpy as np
import pytest

from thresher.labeling.scorers.intervals import UNDEFINED, Estimate, estimate, lift
from thresher.labeling.scorers.observations import Observations
from thresher.labeling.scorers.reading import Reading
from thresher.labeling.scorers.spec import BootstrapSpec
from thresher.labeling.scorers.statistics import (
    accuracy,
    auroc,
    balanced_accuracy,
    correlation,
    precision,
    recall,
)

BOOTSTRAP = BootstrapSpec(num_resamples=2000)


def readings(truth, said, documents=None) -> list[Reading]:
    """One observation a reading, each of a document of its own unless said."""
    names = [str(index) for index in range(len(truth))] if documents is None else documents
    return [
        Reading(name, np.array([float(t)]), np.array([float(s)]))
        for name, t, s in zip(names, truth, said, strict=True)
    ]


def value(observed: Observations) -> float | None:
    return estimate(observed, BOOTSTRAP, seed=0).value


def test_correlation_equals_numpy() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=60) + 1e6  # a large offset would drown raw sums of squares
    y = 0.5 * (x - 1e6) + rng.normal(size=60)
    assert value(correlation(readings(y, x))) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)


def test_weights_equal_repeated_rows() -> None:
    rng = np.random.default_rng(2)
    documents = np.repeat([f"d{index}" for index in range(15)], 4)
    active, said = rng.random(60) < 0.5, rng.random(60).round(1)
    found = readings(active, said, list(documents))
    weights = rng.multinomial(15, np.full(15, 1 / 15), size=20).astype(float)
    for measure in (correlation, balanced_accuracy, accuracy, auroc):
        observed = measure(found)
        padded = np.concatenate([weights, np.zeros((20, observed.num_guards))], axis=1)
        for row, got in zip(weights, observed.value(padded), strict=True):
            drawn = [
                Reading(f"{item.document}-{copy}", item.truth_N, item.predicted_N)
                for item in found
                for copy in range(int(row[int(item.document[1:])]))
            ]
            assert got == pytest.approx(value(measure(drawn)), abs=1e-9)


def test_auroc_by_hand() -> None:
    """Active 3, 2, 1 against inactive 2, 0: of six pairs four won and one tied."""
    assert value(auroc(readings([1, 1, 1, 0, 0], [3, 2, 1, 2, 0]))) == pytest.approx(4.5 / 6)
    assert value(auroc(readings([1, 1], [3, 2]))) is None


def test_interval_is_wider_when_rows_of_a_document_agree() -> None:
    """Ten copies of each observation in one document carry no more than one observation."""
    rng = np.random.default_rng(3)
    x, noise = rng.normal(size=20) + 3, rng.normal(size=20)
    copies = [np.repeat(values, 10) for values in (x, x + noise)]
    clustered = estimate(correlation(readings(*copies, list(np.repeat(range(20), 10)))), BOOTSTRAP, 0)
    naive = estimate(correlation(readings(*copies)), BOOTSTRAP, 0)
    assert width(clustered) > 2 * width(naive)


def width(found: Estimate) -> float:
    assert found.width is not None
    return found.width


@pytest.mark.parametrize(
    ("x", "y"), [([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]), ([1.0, 2.0, 3.0], [0.1, 0.1, 0.1]), ([], [])]
)
def test_no_variance_has_no_correlation(x, y) -> None:
    assert estimate(correlation(readings(y, x)), BOOTSTRAP, 0) == UNDEFINED


def test_one_document_has_a_value_but_no_interval() -> None:
    found = estimate(correlation(readings([1, 2, 3], [1, 2, 4], ["d"] * 3)), BOOTSTRAP, 0)
    assert found.value == pytest.approx(0.98198, abs=1e-5)
    assert found.ci_low is found.ci_high is None


def test_balanced_accuracy_by_hand() -> None:
    observed = balanced_accuracy(readings([1, 1, 1, 1, 0, 0], [1, 0.9, 0.6, 0.2, 0.1, 0.8]))
    found = estimate(observed, BOOTSTRAP, 0)
    assert found.value == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert found.ci_low is not None
    assert found.ci_high is not None
    assert found.ci_low < found.value < found.ci_high


def test_balanced_accuracy_needs_both_classes() -> None:
    assert value(balanced_accuracy(readings([1, 1], [1, 0]))) is None


def test_precision_and_recall_by_hand() -> None:
    """Of four said to be active three are, of five active three were said to be."""
    found = readings([1, 1, 1, 0, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0])
    assert value(precision(found)) == pytest.approx(3 / 4)
    assert value(recall(found)) == pytest.approx(3 / 5)


def test_precision_and_recall_of_nothing_are_undefined() -> None:
    assert estimate(precision(readings([1, 0], [0, 0])), BOOTSTRAP, 0) == UNDEFINED
    assert estimate(recall(readings([0, 0], [1, 0])), BOOTSTRAP, 0) == UNDEFINED
    assert value(precision(readings([0, 0], [1, 0]))) == 0.0


@pytest.mark.parametrize("measure", [balanced_accuracy, accuracy, auroc])
def test_few_texts_that_all_agree_are_no_certainty(measure) -> None:
    few, many = (
        estimate(measure(readings([1, 0] * count, [1, 0] * count)), BOOTSTRAP, 0) for count in (4, 40)
    )
    assert few.value == many.value == few.ci_high == 1.0
    assert few.ci_low < 0.75 < 0.85 < many.ci_low < 1


def test_what_could_not_be_read_is_left_out_and_counted() -> None:
    observed = balanced_accuracy(readings([1, 1, 0, 0], [1, np.nan, 0, 0]))
    assert (value(observed), observed.num_scored, observed.num_unparsed) == (1.0, 3, 1)


def test_lift_is_paired() -> None:
    """Documents that are hard for both labels cancel: the interval of the difference is far narrower than either."""
    rng = np.random.default_rng(5)
    truth = rng.normal(size=(30, 8)) ** 2
    noise = rng.normal(size=(30, 8)) * np.repeat([[0.1], [8.0]], 15, axis=0)
    own, other = (
        correlation([Reading(str(d), truth[d], truth[d] + noise[d] + shift[d]) for d in range(30)])
        for shift in (np.zeros((30, 8)), rng.normal(size=(30, 8)) * 0.3)
    )
    found = lift(own, [other], BOOTSTRAP, 0)
    assert found.value == pytest.approx(value(own) - value(other))
    assert width(found) < 0.3 * width(estimate(own, BOOTSTRAP, 0))


def test_lift_is_over_the_mean_of_the_shuffled_labels_that_are_defined() -> None:
    truth = [1, 1, 2, 3, 0, 1]
    own = correlation(readings(truth, truth))
    constant = correlation(readings(truth, [1] * 6))
    others = [correlation(readings(truth, said)) for said in ([0, 1, 1, 0, 1, 0], [3, 1, 0, 0, 2, 1])]
    expected = 1 - np.mean([value(other) for other in others])
    assert lift(own, [constant, *others], BOOTSTRAP, 0).value == pytest.approx(expected)
    assert lift(own, [constant], BOOTSTRAP, 0) == lift(constant, others, BOOTSTRAP, 0) == UNDEFINED


@pytest.mark.filterwarnings("error")
def test_resamples_in_which_no_shuffled_label_is_defined_do_not_count() -> None:
    """A shuffled label that predicts something in one document alone is constant where that one is not drawn."""
    truth, own, other = [0, 1, 0, 2, 1, 3], [0.1, 0.9, 0.2, 1.8, 1.2, 2.5], [1, 0, 0, 0, 0, 0]
    found = lift(correlation(readings(truth, own)), [correlation(readings(truth, other))], BOOTSTRAP, 0)
    assert found.ci_low is not None
    assert found.ci_high is not None
    assert found.ci_low < found.value < found.ci_high
