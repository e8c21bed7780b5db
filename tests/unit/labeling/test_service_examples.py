from pathlib import Path

import pytest

from thresher.labeling.spec import LabelSpec

EXAMPLES = sorted((Path(__file__).parents[3] / "jobs/configs/label").glob("service-*.yaml"))
GIVEN = ["root=file:///nowhere", "dictionary=d@1", "corpus=c", "tokenizer=/nowhere"]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_is_a_spec(file) -> None:
    spec = LabelSpec.load(file, GIVEN)
    assert spec.budget.max_cost is not None or spec.budget.max_tokens is not None
    assert spec.endpoint.revision != "unstated"


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 2
