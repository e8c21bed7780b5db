"""The outputs in docs/metrics.md are what the commands print of figures that were measured on SmolLM2-135M."""

import json
from pathlib import Path

import pytest

from thresher.contracts.manifests import EvaluationManifest, ReconstructionMetrics
from thresher.evaluation.dictionary_text import metric_lines
from thresher.evaluation.pareto.points import DictionaryPoint
from thresher.evaluation.pareto.table import table_lines
from thresher.evaluation.splice.table import evaluation_lines

MEASURED = Path(__file__).parents[2] / "fixtures" / "measured"
PAGE = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()


def shown(command: str) -> list[str]:
    """The lines under a command of the page, up to the next text."""
    lines = PAGE.splitlines()
    start = lines.index(f"    $ {command}") + 1
    block = []
    for line in lines[start:]:
        if line and not line.startswith("    "):
            break
        block.append(line.removeprefix("    "))
    return "\n".join(block).strip("\n").splitlines()


def test_the_example_of_inspect() -> None:
    metrics = ReconstructionMetrics.model_validate_json((MEASURED / "reconstruction.json").read_text())
    assert shown("thresher inspect smol@1 --root $ROOT") == list(metric_lines(metrics))


def test_the_example_of_compare() -> None:
    points = [
        DictionaryPoint.model_validate(item) for item in json.loads((MEASURED / "points.json").read_text())
    ]
    assert shown("thresher compare smol --root $ROOT") == list(table_lines(points))


@pytest.mark.parametrize(
    ("command", "measured"),
    [
        ("splice.yaml --set dictionary=smol@1", "evaluation.json"),
        ("layer_group.yaml --set dictionary=group-9-18@1", "evaluation_group.json"),
    ],
)
def test_the_examples_of_evaluate(command: str, measured: str) -> None:
    """The first manifest is of before there were several sites."""
    made = EvaluationManifest.model_validate_json((MEASURED / measured).read_text())
    assert shown(f"thresher evaluate {command}") == list(evaluation_lines(made))


def test_every_figure_of_the_manifests_is_on_the_page() -> None:
    names = set(ReconstructionMetrics.model_fields) - {"num_rows"}
    assert {name for name in names if f"`{name}`" not in PAGE} == set()
    assert "`kl_spliced`" in PAGE


def test_a_manifest_without_the_newer_figures_is_shown_too() -> None:
    old = ReconstructionMetrics(explained_variance=0.75, fvu=0.25, l0=3.5, dead_fraction=0.125, num_rows=10)
    assert list(metric_lines(old)) == [
        "held out  (10 rows)",
        "  FVU                    0.2500, explained variance 0.7500",
        "",
        "latents",
        "  L0                     3.50 on average",
        "  dead                   12.50%",
    ]
