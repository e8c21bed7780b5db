"""Every example spec is one that its stage takes."""

import re
from pathlib import Path

import pytest

from thresher.pipelines.stages import STAGES

CONFIGS = Path(__file__).parents[3] / "jobs" / "configs"
DEMO = sorted((CONFIGS / "demo").glob("*.yaml"))
OTHERS = sorted(
    file for file in CONFIGS.glob("*/*.yaml") if file.parent.name not in ("demo", "corpus")
)  # corpora are built by a test
PASSED = {
    "root": "file:///data",
    "corpus": "c",
    "model": "/m",
    "tokenizer": "/m",
    "harvest": "h",
    "dictionary": "d@1",
    "label_run": "r",
    "max_tokens": "100000",
}
"""What the comments at the top of the files say to pass with --set."""


@pytest.mark.parametrize("file", DEMO + OTHERS, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_example_specs_are_valid(file: Path):
    stage = STAGES[file.stem if file.parent.name == "demo" else file.parent.name]
    asked = re.search(r"(?:Pass|Give) ([^\n]*?) with --set", file.read_text())
    assert asked is not None, "says what to pass"
    named = [key for key in re.findall(r"[\w.]+", asked[1]) if key.rpartition(".")[2] in PASSED]
    stage.spec.load(file, [f"{key}={PASSED[key.rpartition('.')[2]]}" for key in named])


def test_there_are_examples():
    assert DEMO
    assert {file.parent.name for file in OTHERS} >= {
        "fit",
        "sweep",
        "harvest",
        "import",
        "evaluate",
        "nightly",
        "families",
    }
