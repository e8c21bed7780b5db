"""Every example of an explainer is a spec; together they show every method."""

from pathlib import Path

import pytest

from thresher.labeling.explainers.spec import parts_of
from thresher.labeling.spec import LabelSpec

ROOT = Path(__file__).parents[4]
EXAMPLES = sorted((ROOT / "jobs/configs/label").glob("explain-*.yaml"))
GIVEN = ["root=file:///r", "dictionary=d@1", "corpus=c", "tokenizer=/t"]


def load(file: Path) -> LabelSpec:
    subject = ["explainer.model=/m"] if file.stem == "explain-self" else []
    return LabelSpec.load(file, GIVEN + subject)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_it_loads(file: Path) -> None:
    assert load(file).root == "file:///r"


def test_every_method_has_an_example() -> None:
    methods = {part.method for file in EXAMPLES for part in parts_of(load(file).explainer)}
    assert methods == {
        "activations",
        "contrastive",
        "vocab_proj",
        "token_change",
        "ensemble",
        "self_explaining",
    }
