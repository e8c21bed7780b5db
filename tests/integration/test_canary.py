"""A real harvest agrees with its model; the same with two rows swapped is caught, though every checksum is right."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fixtures.corpora import build_small_corpus
from fixtures.model_harvests import save_tiny_model, with_rows_reordered
from thresher.cli import app
from thresher.harvest.coordinator import harvest
from thresher.harvest.spec import HarvestSpec
from thresher.storage import open_store

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("local_ray")]

LENGTH = 64


def test_a_real_harvest_passes_and_swapped_rows_do_not(tiny_llama: Path, tmp_path: Path) -> None:
    root = f"file://{tmp_path}"
    corpus = build_small_corpus(root, tiny_llama, max_tokens=16 * LENGTH, sequence_length=LENGTH)
    spec = {
        "root": root,
        "corpus": corpus.corpus_id,
        "model": str(tiny_llama),
        "sites": ["resid_post.0", "resid_post.2", "mlp_neurons.1"],
        "dtype": "float32",
        "encoding": "int8",
        "sequences_per_shard": 4,
        "engine": {"kv_cache_gib": 1},
    }
    manifest = harvest(HarvestSpec.parse(spec))
    artifact = f"activations/{manifest.harvest_id}"

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, [*arguments, artifact, "--root", root], catch_exceptions=False)
        return done.exit_code, done.output

    code, output = run("verify", "--model", str(tiny_llama), "--sequences", "50")
    assert code == 0, output
    assert output.count(": agrees with the model") == 3

    code, output = run("inspect", "--tokenizer", str(tiny_llama))
    assert code == 0, output
    for words in ("vllm", "resid_post.0 > resid_post.2", "by TwoNN", "tokens/s", "waited for the store"):
        assert words in output

    with pytest.raises(Exception, match="give the folder of that very model"):
        CliRunner().invoke(
            app,
            ["verify", artifact, "--root", root, "--model", str(save_tiny_model(tmp_path / "other"))],
            catch_exceptions=False,
        )

    shard = manifest.shards[0]
    order = np.arange(shard.num_rows)
    order[[LENGTH + 9, 30]] = order[[30, LENGTH + 9]]
    with_rows_reordered(open_store(root), manifest, "resid_post.2", 0, order.tolist())
    code, output = run("verify", "--model", str(tiny_llama), "--sequences", "50")
    assert code == 1
    assert "every file matches its checksum" in output
    for row in (30, LENGTH + 9):
        sequence, position = shard.first_sequence + row // LENGTH, row % LENGTH
        assert f"resid_post.2: sequence {sequence} position {position} is off by" in output
    assert output.count(": agrees with the model") == 2
