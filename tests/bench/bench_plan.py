"""How long a plan of many latents takes, and how much memory: the planned features are few, the tables are not.

    PYTHONPATH=tests python tests/bench/bench_plan.py [--latents 1000000] [--exemplar-rows 1000000]

Prints the plan, its time and peak memory, and writes JSON.

Writes a table of statistics with a row a latent, and exemplars in parts sorted by feature, as the encode pass makes
them but for fewer features; then plans all latents in a process of its own.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fixtures.exemplars import CORPUS_ID, NAME, RULES, VERSION, exemplar_rows
from fixtures.scripted_llm import write_tokenizer
from thresher.contracts import paths
from thresher.contracts.manifests import DictionaryRef, FeaturesManifest
from thresher.contracts.schemas import EXEMPLARS, FEATURE_STATS
from thresher.labeling.budget.plan import sample_features
from thresher.labeling.selection import select_features
from thresher.labeling.spec import SelectionSpec
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import publish_manifest, put_file

ROWS_PER_PART, ROWS_PER_GROUP = 200_000, 16_384
PROGRAM = """
import json, resource, sys, time
from thresher.labeling.run import plan
from thresher.labeling.spec import LabelSpec
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start_s = time.perf_counter()
planned = plan(LabelSpec.model_validate_json(sys.argv[1]))
took_s = time.perf_counter() - start_s
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": took_s, "mib_before": before / 1024, "peak_mib": peak / 1024, "plan": planned.lines()}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--latents", type=int, default=1_000_000)
    parser.add_argument("--exemplar-rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(Path(folder))
        store = open_store(f"file://{folder}/root")
        _publish(store, options.latents, options.exemplar_rows)
        spec = {
            "root": store.url,
            "dictionary": f"{NAME}@{VERSION}",
            "corpus": CORPUS_ID,
            "tokenizer": folder,
            "endpoint": {"model": "m", "base_url": "http://127.0.0.1:9/v1"},
            "budget": {"prices": {"m": {"prompt": 0.1, "completion": 0.4}}},
        }
        command = [sys.executable, "-c", PROGRAM, json.dumps(spec)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found = json.loads(done.stdout)
    print("\n".join(found.pop("plan")))
    found |= {
        "latents": options.latents,
        "exemplar_rows": options.exemplar_rows,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), "pyarrow": pa.__version__},
        "seeds": [0, 1],
    }
    print(
        f"{options.latents:,} latents, {options.exemplar_rows:,} exemplar rows: {found['seconds']:.1f} s, peak "
        f"{found['peak_mib']:,.0f} MiB, of which imports {found['mib_before']:,.0f} MiB"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "plan.json").write_text(json.dumps(found, indent=1))


def _publish(store: ObjectStore, num_latents: int, num_rows: int) -> None:
    artifact, draw = paths.features(NAME, VERSION, CORPUS_ID), np.random.default_rng(0)
    manifest = FeaturesManifest(
        features_id="f" * 16,
        spec={},
        dictionary=DictionaryRef(name=NAME, version=VERSION, weights_sha256="0" * 64),
        corpus_id=CORPUS_ID,
        harvest_id="h" * 16,
        site="resid_post.1",
        num_latents=num_latents,
        num_rows={"explain": 10_000, "report": 10_000},
        stats=put_file(store, f"{artifact}/stats.parquet", _bytes(_stats(num_latents))),
        exemplars=[],
        code_version="bench",
    )
    template = pa.Table.from_pylist(list(exemplar_rows(8, draw, False)), schema=EXEMPLARS)
    needed = set(sample_features(select_features(store, manifest, SelectionSpec())))
    spread = np.unique(np.linspace(0, num_latents - 1, num_rows // len(template), dtype=int))
    features = sorted(needed | {int(feature) for feature in spread})
    entries, per_part = [], ROWS_PER_PART // len(template)
    for index, start in enumerate(range(0, len(features), per_part)):
        tables = [_of_feature(template, feature) for feature in features[start : start + per_part]]
        key = f"{artifact}/exemplars/part-{index:06d}.parquet"
        entries.append(put_file(store, key, _bytes(pa.concat_tables(tables))))
    publish_manifest(store, artifact, manifest.model_copy(update={"exemplars": entries}))


def _of_feature(template: pa.Table, feature: int) -> pa.Table:
    columns = {
        "feature": pa.array(np.full(len(template), feature, np.int32)),
        "doc_id": pa.array([f"{name}-{feature}" for name in template["doc_id"].to_pylist()]),
    }
    for name, column in columns.items():
        template = template.set_column(template.schema.get_field_index(name), EXEMPLARS.field(name), column)
    return template


def _stats(num_latents: int) -> pa.Table:
    draw = np.random.default_rng(1)
    alive = draw.random(num_latents) < 0.9
    density = np.where(alive, draw.random(num_latents) * 1e-3, 0.0)
    return pa.table(
        {
            "feature": pa.array(np.arange(num_latents, dtype=np.int32)),
            "num_active": pa.array((density * 1e7).astype(np.int64)),
            "density": pa.array(density),
            "mean": pa.array(np.where(alive, 4.5, 0).astype(np.float32)),
            "max": pa.array(np.where(alive, 5.0, 0).astype(np.float32)),
            "histogram": pa.array([[1]] * num_latents, pa.list_(pa.int64())),
            "top_tokens": pa.array([list(RULES[8].words[:3])] * num_latents),
            "state": pa.array(np.where(alive, "ok", "dead")),
        },
        schema=FEATURE_STATS,
    )


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=ROWS_PER_GROUP)
    data: bytes = sink.getvalue().to_pybytes()
    return data


if __name__ == "__main__":
    main()
