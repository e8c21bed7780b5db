"""A published dictionary opens in SAELens as it stands, and means the same there."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures import saelens_reader
from fixtures.planted_fits import planted_fit
from thresher.contracts import paths
from thresher.dictionary.job import FitJob
from thresher.dictionary.training.train_loop import train_and_publish
from thresher.latents.weights import load_encoder
from thresher.storage import open_store

pytestmark = pytest.mark.real

PYTHON = Path(os.environ.get("PEERS_PYTHON", Path(__file__).parents[2] / ".venvs/peers-fit/bin/python"))


def test_saelens_loads_the_folder_and_computes_the_same_codes(tmp_path: Path) -> None:
    assert PYTHON.exists(), "the peers' environment is missing: run `make venvs`"
    store = open_store((tmp_path / "store").as_uri())
    train_and_publish(FitJob(planted_fit(store, num_steps=100), version="1", fit_id="a-fit"))
    encoder, _ = load_encoder(store, "planted@1")
    x_BD = torch.randn(200, encoder.d_in, generator=torch.Generator().manual_seed(0)) * 8
    codes = encoder.encode(x_BD)
    codes_BF = np.zeros((200, encoder.num_latents), np.float32)
    codes_BF[codes.row_of_code(), codes.latents] = codes.values

    folder = store.local_path(paths.dictionary("planted", "1"))
    np.save(tmp_path / "x.npy", x_BD.numpy())
    # -P: the script's neighbours have names such as ray.py, and must not be found in place of packages
    command = [PYTHON, "-P", saelens_reader.__file__, folder, tmp_path / "x.npy", tmp_path / "out.npz"]
    subprocess.run([str(part) for part in command], check=True, timeout=300)
    theirs = np.load(tmp_path / "out.npz")

    assert codes.latents.numel() > 200
    np.testing.assert_array_equal(theirs["codes"] > 0, codes_BF > 0)
    np.testing.assert_allclose(theirs["codes"], codes_BF, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(theirs["x_hat"], encoder.decode(codes), rtol=1e-5, atol=1e-4)
    assert str(theirs["architecture"]) == "jumprelu"
    assert str(theirs["hook_name"]) == "blocks.1.hook_resid_post"
    assert (str(theirs["model_name"]), int(theirs["context_size"])) == ("tiny", 32)
    assert str(theirs["fit_id"]) == "a-fit"
