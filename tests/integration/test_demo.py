"""The whole chain by the command, small: what it makes is found again, pulled by the base install, opened elsewhere."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
import torch

from fixtures import saelens_reader
from fixtures.label_runs import read_rows
from thresher.contracts import paths
from thresher.contracts.manifests import LabelManifest
from thresher.latents.weights import parse_weights
from thresher.release.folder import verify_folder
from thresher.runtime.local.bundled import prepare_model
from thresher.storage import open_store
from thresher.storage.artifacts import read_record

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]

REPOSITORY = Path(__file__).parents[2]
THRESHER = Path(sys.executable).with_name("thresher")
BARE_THRESHER = REPOSITORY / ".venvs/bare/bin/thresher"
SAELENS_PYTHON = REPOSITORY / ".venvs/peers-fit/bin/python"
ROOT = "s3://thresher"
SECOND_RUN_MAX_S = 120


@pytest.fixture(scope="module")
def stack_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first_run(stack_folder: Path) -> str:
    return _demo(stack_folder)


def _demo(folder: Path) -> str:
    command = [THRESHER, "demo", "--tokens", "24000", "--features", "3", "--folder", folder]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_ends_with_a_table_of_labelled_features(first_run: str) -> None:
    for words in (
        "Labelled features",
        "simulation",
        "detection",
        "shuffled",
        "explained variance",
        "Wall time",
    ):
        assert words in first_run


def test_a_second_run_finds_every_stage_made(first_run: str, stack_folder: Path) -> None:
    start_s = time.monotonic()
    again = _demo(stack_folder)
    assert time.monotonic() - start_s < SECOND_RUN_MAX_S
    table = "Labelled features"
    assert (
        again[again.index(table) : again.index("Wall time")]
        == first_run[first_run.index(table) : first_run.index("Wall time")]
    )


def test_the_pulled_folder_opens_in_pandas_and_duckdb(first_run: str, stack_folder: Path) -> None:
    pulled = stack_folder / "pulled" / "demo@1"
    assert verify_folder(pulled) == []
    labels = pd.read_parquet(pulled / "labels.parquet")
    assert len(labels) == 3
    ((num_intervals,),) = duckdb.sql(
        f"select count(*) from '{pulled}/scores.parquet' s join '{pulled}/labels.parquet' l using (label_id) "
        "where s.ci_low is not null"
    ).fetchall()
    assert num_intervals > 0


def test_the_pulled_folder_opens_in_saelens_with_the_same_codes(
    first_run: str, stack_folder: Path, tmp_path: Path
) -> None:
    pulled = stack_folder / "pulled" / "demo@1"
    encoder = parse_weights(
        (pulled / "cfg.json").read_bytes(), (pulled / "sae_weights.safetensors").read_bytes(), str(pulled)
    )
    x_BD = torch.randn(100, encoder.d_in, generator=torch.Generator().manual_seed(0)) * 30
    np.save(tmp_path / "rows.npy", x_BD.numpy())
    arguments = [pulled, tmp_path / "rows.npy", tmp_path / "out.npz"]
    command = [SAELENS_PYTHON, "-P", saelens_reader.__file__, *arguments]
    subprocess.run([str(part) for part in command], check=True, timeout=300)
    theirs = np.load(tmp_path / "out.npz")
    codes = encoder.encode(x_BD)
    codes_BF = np.zeros((100, encoder.num_latents), np.float32)
    codes_BF[codes.row_of_code(), codes.latents] = codes.values
    assert codes.latents.numel() > 0
    np.testing.assert_allclose(theirs["codes"], codes_BF, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(theirs["x_hat"], encoder.decode(codes), rtol=1e-4, atol=1e-2)


def test_it_is_pulled_by_the_command_of_the_base_install(
    first_run: str, stack_folder: Path, tmp_path: Path
) -> None:
    with _stack(stack_folder) as environment:
        command = [BARE_THRESHER, "pull", "demo@1", tmp_path / "pulled", "--root", ROOT]
        subprocess.run([str(part) for part in command], env=environment, check=True, timeout=120)
    assert verify_folder(tmp_path / "pulled") == []


def test_its_labels_are_scored_by_what_the_model_does(
    first_run: str, stack_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = prepare_model()
    about = json.loads((stack_folder / "pulled/demo@1/cfg.json").read_text())["metadata"]["thresher"]
    spec = {
        "root": ROOT,
        "dictionary": "demo@1",
        "corpus": about["corpus_id"],
        "tokenizer": str(model),
        "endpoint": {"model": model.name, "base_url": "of the stack"},
        "features": {"count": 2, "selection": "density_spread"},
        "explainer": {"num_exemplars": 5, "num_quantile": 0},
        "simulation": None,
        "detection": None,
        "generation": {"model": str(model), "num_requests": 2, "texts_per_request": 3},
        "steering": {"model": str(model), "num_prompts": 4, "max_tokens": 8},
    }
    with _stack(stack_folder, "--model", str(model)) as environment:
        spec["endpoint"]["base_url"] = environment["OPENAI_BASE_URL"]
        (tmp_path / "label.yaml").write_text(json.dumps(spec))
        command = [str(THRESHER), "label", str(tmp_path / "label.yaml")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        store = open_store(ROOT)
        key = paths.manifest(paths.label_run("demo", "1", done.stdout.split()[-1]))
        rows = read_rows(store, read_record(store, key, LabelManifest).scores)
    steered = [row for row in rows if row["score_type"] == "steering"]
    assert [(row["state"], row["n"], row["n_unparsed"]) for row in steered] == [("ok", 2 * 4, 0)] * 4
    assert all(0 <= row["ci_low"] <= row["value"] <= row["ci_high"] <= 1 for row in steered)
    written = [row for row in rows if row["score_type"] == "generation"]
    assert [row["n"] + row["n_unparsed"] for row in written] == [2 * 2 * 3] * 4
    assert {row["shuffled"] for row in written} == {True, False}


@contextmanager
def _stack(folder: Path, *options: str) -> Iterator[dict[str, str]]:
    """The local stack over what the demo has left, and the environment in which it is reached."""
    subprocess.run([str(THRESHER), "up", "--folder", str(folder), *options], check=True, timeout=300)
    try:
        exports = subprocess.run(
            [str(THRESHER), "env", "--folder", str(folder)], capture_output=True, text=True, check=True
        ).stdout
        given = dict(line.removeprefix("export ").split("=", 1) for line in exports.splitlines())
        yield os.environ | {name: value.strip("'") for name, value in given.items()}
    finally:
        subprocess.run([str(THRESHER), "down", "--folder", str(folder)], check=True, timeout=60)
