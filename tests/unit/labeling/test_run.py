"""Whole runs against a scripted server over HTTP."""

import pyarrow.parquet as pq
import pytest

from fixtures.exemplars import CORPUS_ID, RULES
from thresher.contracts.manifests import LabelManifest
from thresher.labeling.run import label
from thresher.labeling.spec import LabelSpec
from thresher.storage.read_file import open_input


@pytest.fixture
def make_spec(planted_store, scripted_llm, tokenizer_folder):
    """A spec over the planted features and the scripted server, with changes."""

    def make(**changes) -> LabelSpec:
        endpoint = {"model": "scripted", "base_url": scripted_llm.base_url, "max_retries": 2, "timeout_s": 5}
        return LabelSpec.parse(
            {
                "root": planted_store.url,
                "dictionary": "planted@1",
                "corpus": CORPUS_ID,
                "tokenizer": str(tokenizer_folder),
                "endpoint": endpoint | changes.pop("endpoint", {}),
                **changes,
            }
        )

    return make


def rows(store, files) -> list[dict]:
    return [row for entry in files for row in pq.read_table(open_input(store, entry.key)).to_pylist()]


def test_right_labels_beat_shuffled_ones(planted_store, make_spec) -> None:
    manifest: LabelManifest = label(make_spec(features={"count": 4}))
    texts = {row["feature"]: row["text"] for row in rows(planted_store, manifest.labels)}
    assert texts == {latent: rule.name for latent, rule in RULES.items()}
    assert manifest.mean_scores["simulation"] > 0.95
    assert abs(manifest.mean_scores["simulation.shuffled"]) < 0.3
    assert manifest.mean_scores["detection"] == 1.0
    assert manifest.mean_scores["detection.shuffled"] == 0.5
