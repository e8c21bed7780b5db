"""What specs of explainers refuse, and what of them makes another run."""

from typing import Any

import pytest

from thresher.contracts.errors import SpecError
from thresher.labeling.explainers.spec import ActivationsSpec
from thresher.labeling.spec import LabelSpec

GIVEN = {
    "root": "file:///r",
    "dictionary": "d@1",
    "corpus": "c",
    "tokenizer": "/t",
    "endpoint": {"model": "m", "base_url": "http://localhost/v1"},
}


def spec(**changes: Any) -> LabelSpec:
    return LabelSpec.parse(GIVEN | changes)


def test_activations_is_the_default_method() -> None:
    assert spec().explainer == ActivationsSpec()
    assert spec(explainer={"num_exemplars": 7}).explainer == ActivationsSpec(num_exemplars=7)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"explainer": {"method": "guess"}}, "explainer"),
        ({"explainer": {"method": "vocab_proj", "num_exemplars": 5}}, "explainer.vocab_proj.num_exemplars"),
        ({"explainer": {"num_candidates": 2}}, "explainer.temperature"),
        (
            {"explainer": {"method": "ensemble", "members": [{"method": "activations"}]}},
            "explainer.ensemble.members",
        ),
        ({"explainer": {"method": "ensemble", "members": [{"method": "ensemble"}] * 2}}, None),
        ({"explainer": {"method": "self_explaining"}}, "explainer.self_explaining.model"),
        ({"explainer": {"method": "ensemble"}, "choice": {"by": "guess"}}, "choice.by"),
        ({"explainer": {"method": "ensemble"}, "detection": None}, "choice.by"),
    ],
)
def test_faults_are_found_at_once(changes, field) -> None:
    with pytest.raises(SpecError) as caught:
        spec(**changes)
    assert field is None or caught.value.field.endswith(field)


def test_one_candidate_needs_no_scorer_to_choose_by() -> None:
    assert spec(detection=None, choice={"by": "detection"}).detection is None


def test_where_a_member_is_reached_makes_no_other_run() -> None:
    def of(url: str, model: str = "m") -> dict[str, Any]:
        member = {"method": "activations", "endpoint": {"model": model, "base_url": url}}
        return spec(
            explainer={"method": "ensemble", "members": [member, {"method": "vocab_proj"}]}
        ).identity()

    assert of("http://one/v1") == of("http://two/v1")
    assert of("http://one/v1") != of("http://one/v1", "other")
