"""`schemas/` is what the code generates now: `make schemas` mends it."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from thresher.pipelines.schemas import generated_files
from thresher.pipelines.stages import STAGES

ROOT = Path(__file__).parents[3]
# What the demo's specs leave to --set, since it is known only when the chain runs.
GIVEN_LATER = {
    "corpus": {"root": "file:///r", "tokenizer": "/m", "max_tokens": 1000},
    "harvest": {"root": "file:///r", "model": "/m", "corpus": "c"},
    "fit": {"root": "file:///r", "harvest": "h"},
    "encode": {"root": "file:///r", "model": "/m", "corpus": "c", "dictionary": "demo@1"},
    "label": {"root": "file:///r", "corpus": "c", "dictionary": "demo@1", "tokenizer": "/m"},
    "publish": {"root": "file:///r", "corpus": "c", "dictionary": "demo@1", "label_run": "l"},
}


@pytest.mark.parametrize("name", sorted(generated_files()))
def test_no_drift(name):
    assert (ROOT / "schemas" / name).read_text() == generated_files()[name], "run `make schemas`"


def test_nothing_else_lies_there():
    assert {file.name for file in (ROOT / "schemas").iterdir()} == set(generated_files())


@pytest.mark.parametrize("stage", sorted(GIVEN_LATER))
def test_the_demo_specs_fit_their_stage_and_its_schema(stage):
    data = yaml.safe_load((ROOT / "jobs/configs/demo" / f"{stage}.yaml").read_text()) | GIVEN_LATER[stage]
    STAGES[stage].spec.parse(data)
    jsonschema.validate(data, STAGES[stage].spec.model_json_schema())


@pytest.mark.parametrize("stage", ["import", "import-dictionary"])
def test_the_import_specs_fit_their_schema(stage):
    for file in (ROOT / "jobs/configs" / stage).iterdir():
        data = yaml.safe_load(file.read_text()) | {"root": "file:///r"}
        STAGES[stage].spec.parse(data)
        jsonschema.validate(data, STAGES[stage].spec.model_json_schema())


def test_every_stage_has_a_spec_to_start_from():
    assert {*GIVEN_LATER, "sweep", "import", "import-dictionary", "evaluate", "nightly", "families"} == set(
        STAGES
    )


@pytest.mark.parametrize("stage", sorted(STAGES))
def test_every_field_of_every_spec_is_documented(stage):
    schema = STAGES[stage].spec.model_json_schema()
    for model in [schema, *schema.get("$defs", {}).values()]:
        for name, field in model.get("properties", {}).items():
            # Where a field's words are its model's own, pydantic leaves them with the model.
            assert field.get("description") or "$ref" in field, f"{model['title']}.{name}"
