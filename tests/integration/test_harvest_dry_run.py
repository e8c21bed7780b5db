"""A dry run with a real engine: it measures, and leaves the store as it was."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fixtures.corpora import build_small_corpus
from thresher.runtime.cpu_features import fast_dtype
from thresher.storage import open_store

pytestmark = pytest.mark.real


def test_it_measures_a_real_engine_and_leaves_nothing(tiny_llama: Path, tmp_path: Path) -> None:
    root = (tmp_path / "root").as_uri()
    corpus = build_small_corpus(root, tiny_llama, max_tokens=200 * 64)
    spec = {
        "root": root,
        "corpus": corpus.corpus_id,
        "model": str(tiny_llama),
        "sites": ["resid_post.1", "mlp_out.2"],
        "encoding": "int8",
        "centre": True,
        "dtype": fast_dtype(),
        "engine": {"kv_cache_gib": 1, "max_batch_tokens": 1024},
        "actors": {"count": 3, "price_per_hour": 2},
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    before = [(info.key, info.etag) for info in open_store(root).list("")]
    command = [
        str(Path(sys.executable).with_name("thresher")),
        "harvest",
        str(tmp_path / "spec.yaml"),
        "--dry-run",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    assert [(info.key, info.etag) for info in open_store(root).list("")] == before
    print(done.stdout)
    table = {line[:28].strip(): line[28:].strip() for line in done.stdout.splitlines()}
    splits = [item for item in corpus.splits if item.split in ("fit", "report")]
    assert table["rows"] == f"{sum(item.stop - item.start for item in splits) * 64:,}"
    assert int(table["tokens/s an actor"].replace(",", "")) > 100
    assert {"bytes resid_post.1", "bytes mlp_out.2", "expected time", "cost of actors"} <= set(table)
