"""Generates `schemas/`: JSON Schemas of specs and manifests, Arrow schemas, the catalog's DDL."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel

from thresher.catalog.ddl import ddl
from thresher.contracts.manifests import MANIFEST_KINDS, ShardCommit
from thresher.contracts.schemas import TABLES, dense_rows
from thresher.pipelines.stages import STAGES


def generated_files() -> Mapping[str, str]:
    """Every file of `schemas/`, by name."""
    files = {f"{stage.name}.spec.schema.json": _json_schema(stage.spec) for stage in STAGES.values()}
    files |= {f"{kind}.manifest.schema.json": _json_schema(model) for kind, model in MANIFEST_KINDS.items()}
    files["shard-commit.schema.json"] = _json_schema(ShardCommit)
    files["arrow.txt"] = _arrow_text()
    files |= {f"catalog.{dialect}.sql": ddl(dialect) for dialect in ("sqlite", "postgresql")}
    return files


def _json_schema(model: type[BaseModel]) -> str:
    return json.dumps(model.model_json_schema(), indent=2, sort_keys=True) + "\n"


def _arrow_text() -> str:
    tables: dict[str, pa.Schema] = {**TABLES, "dense_rows(bfloat16, 576)": dense_rows("bfloat16", 576)}
    return "\n".join(
        f"# {name}\n{schema.to_string(show_schema_metadata=True)}\n" for name, schema in tables.items()
    )


def main(folder: str) -> None:
    """Write the files, and remove those that are generated no more."""
    files, target = generated_files(), Path(folder)
    target.mkdir(exist_ok=True)
    for stale in {item.name for item in target.iterdir()} - set(files):
        (target / stale).unlink()
    for name, text in files.items():
        (target / name).write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
