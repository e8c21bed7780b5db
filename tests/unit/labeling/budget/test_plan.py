"""What a plan says, beside what the run then takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from thresher.labeling.run import label, plan

PRICES = {"scripted": {"prompt": 1.0, "completion": 4.0}}


def test_a_plan_asks_nothing_and_bounds_the_run(scripted_llm, label_spec) -> None:
    spec = label_spec(features={"count": 4}, budget={"prices": PRICES}, single_token=None)
    planned = plan(spec)
    assert scripted_llm.requests == scripted_llm.probes == []
    made = label(spec)
    assert planned.num_calls == made.num_calls
    for purpose, used in made.usage.items():
        expected = planned.by_purpose[purpose]
        assert expected.num_calls == used.num_calls
        assert expected.num_completion_tokens >= used.num_completion_tokens
    assert planned.num_tokens >= made.num_prompt_tokens + made.num_completion_tokens
    assert planned.cost is not None
    assert made.cost is not None
    assert made.cost <= planned.cost <= 1.5 * made.cost


def test_features_that_are_not_asked_about_are_counted_apart(label_spec) -> None:
    planned = plan(label_spec(features={"count": None}))
    assert (planned.num_features, planned.num_asked) == (12, 4)
    assert planned.cost is None
    assert "no price given" in planned.lines()[0]
    nothing = plan(label_spec(features={"selection": [0]}))
    assert (nothing.num_asked, nothing.num_calls, nothing.num_tokens) == (0, 0, 0)


def test_candidates_and_calibration_are_planned(label_spec) -> None:
    once = plan(label_spec(features={"count": 4}))
    best = plan(
        label_spec(
            features={"count": 4},
            explainer={"method": "activations", "num_candidates": 3, "temperature": 1.0},
            simulation={"num_top": 2, "num_quantile": 1, "num_negative": 2, "num_calibrate": 2},
        )
    )
    before, after = (
        {name: part.num_calls for name, part in found.by_purpose.items()} for found in (once, best)
    )
    assert after["explain"] == 3 * before["explain"]
    assert after["detection"] > 2 * before["detection"]
    assert after["simulation"] > before["simulation"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [["-c", "from thresher.cli import main; main()", "label"], ["jobs/label.py"]]
)
def test_the_command_and_the_job_print_it(label_spec, tmp_path, command) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump(json.loads(label_spec(budget={"prices": PRICES}).model_dump_json())))
    done = subprocess.run(
        [sys.executable, *command, str(file), "--plan"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[4],
    )
    assert done.returncode == 0, done.stderr
    assert "features will take at most about" in done.stdout
    assert "USD" in done.stdout
