"""thresher's side: `label` over the features artifact."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fixtures.exemplars import CORPUS_ID, NAME, VERSION
from label.case import Case, Meter, say
from thresher.contracts.manifests import FileEntry
from thresher.labeling.run import label
from thresher.labeling.spec import LabelSpec
from thresher.storage import open_store
from thresher.storage.read_file import open_input

SCORE_COLUMNS = [
    "feature",
    "score_type",
    "shuffled",
    "state",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "n_unparsed",
]
LIFT_COLUMNS = ["lift", "lift_low", "lift_high"]


def main(case: Case) -> None:
    root = f"file://{case.folder}/{case.options['store']}"
    spec = LabelSpec.parse({
        "root": root,
        "dictionary": f"{NAME}@{VERSION}",
        "corpus": CORPUS_ID,
        "tokenizer": case.folder,
        "endpoint": {"model": case.model, "base_url": case.base_url, "concurrency": case.concurrency},
        "seed": case.seed,
        **case.options["spec"],
    })  # fmt: skip
    with Meter(case) as meter:
        manifest = label(spec)
    labels, scores = _rows(root, manifest.labels), _rows(root, manifest.scores)
    purposes = [row["purpose"] for row in _rows(root, manifest.responses, ["purpose"])]
    say({
        **meter.measured,
        "labels": {str(row["feature"]): row["text"] for row in labels},
        "scores": [{name: row[name] for name in SCORE_COLUMNS + LIFT_COLUMNS} for row in scores],
        "num_calls": {purpose: purposes.count(purpose) for purpose in sorted(set(purposes))},
        "num_prompt_tokens": manifest.num_prompt_tokens,
        "num_completion_tokens": manifest.num_completion_tokens,
        "files": len(list(Path(case.folder, case.options["store"]).rglob("responses-*"))),
    })  # fmt: skip


def _rows(root: str, files: list[FileEntry], columns: list[str] | None = None) -> list[dict[str, Any]]:
    store = open_store(root)
    tables = [pq.read_table(open_input(store, entry.key), columns=columns) for entry in files]
    return list(pa.concat_tables(tables).to_pylist()) if tables else []


if __name__ == "__main__":
    main(Case.from_arguments())
