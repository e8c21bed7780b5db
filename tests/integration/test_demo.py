"""The whole chain by the command, small: what it makes is found again, pulled by the base install, opened elsewhere."""

import os
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
import torch

from fixtures import saelens_reader
from thresher.latents.weights import parse_weights
from thresher.release.folder import verify_folder

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]

REPOSITORY = Path(__file__).parents[2]
THRESHER = Path(sys.executable).with_name("thresher")
BARE_THRESHER = REPOSITORY / ".venvs/bare/bin/thresher"
SAELENS_PYTHON = REPOSITORY / ".venvs/peers-fit/bin/python"
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
    subprocess.run([str(THRESHER), "up", "--folder", str(stack_folder)], check=True, timeout=60)
    try:
        exports = subprocess.run(
            [str(THRESHER), "env", "--folder", str(stack_folder)], capture_output=True, text=True, check=True
        ).stdout
        given = dict(line.removeprefix("export ").split("=", 1) for line in exports.splitlines())
        environment = os.environ | {name: value.strip("'") for name, value in given.items()}
        command = [BARE_THRESHER, "pull", "demo@1", tmp_path / "pulled", "--root", "s3://thresher"]
        subprocess.run([str(part) for part in command], env=environment, check=True, timeout=120)
    finally:
        subprocess.run([str(THRESHER), "down", "--folder", str(stack_folder)], check=True, timeout=60)
    assert verify_folder(tmp_path / "pulled") == []
