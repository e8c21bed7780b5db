"""Dictionaries that the peers' own code saved are read with the same codes and reconstructions, and those that are
exported to a peer load there and compute the same."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures import peer_dictionaries
from fixtures.dense_codes import dense_codes
from fixtures.foreign_dictionaries import foreign_folders, rows
from thresher.contracts.errors import SpecError
from thresher.dictionary.formats.export_dictionary import export_dictionary
from thresher.dictionary.formats.import_dictionary import import_dictionary
from thresher.dictionary.formats.spec import ImportDictionarySpec
from thresher.latents.encoder import SparseEncoder
from thresher.latents.weights import load_encoder
from thresher.storage import open_store

pytestmark = pytest.mark.real

PYTHON = Path(os.environ.get("PEERS_PYTHON", Path(__file__).parents[2] / ".venvs/peers-fit/bin/python"))
PEERS = ("saelens", "sparsify", "dictionary_learning")
MADE = {
    "saelens": [
        "standard",
        "topk",
        "topk_rescaled",
        "jumprelu",
        "gated",
        "transcoder",
        "skip_transcoder",
        "jumprelu_transcoder",
        "jumprelu_skip_transcoder",
        "batchtopk",
        "batchtopk_checkpoint",
        "matryoshka",
        "matryoshka_checkpoint",
    ],
    "sparsify": ["layers.3", "layers.3.mlp", "layers.4.mlp"],
    "dictionary_learning": [
        "AutoEncoder",
        "AutoEncoderNew",
        "GatedAutoEncoder",
        "JumpReluAutoEncoder",
        "AutoEncoderTopK",
        "BatchTopKSAE",
        "MatryoshkaBatchTopKSAE",
    ],
}
CASES = [(peer, name) for peer, names in MADE.items() for name in names]
CONVERSION_START, CONVERSION_END = "    python - <<'END'\n", "    END\n"


def run_peer(*arguments: object) -> None:
    assert PYTHON.exists(), "the peers' environment is missing: run `make venvs`"
    # -P: the script's neighbours have names such as ray.py, and must not be found in place of packages
    command = [PYTHON, "-P", peer_dictionaries.__file__, *arguments]
    done = subprocess.run(
        [str(part) for part in command], timeout=300, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders that the peers saved, each with what it computes in result.npz."""
    folder = tmp_path_factory.mktemp("made")
    for peer in PEERS:
        run_peer("make", peer, folder / peer)
    return folder


def assert_same(codes_BF: np.ndarray, y_hat_BE: np.ndarray, theirs: dict[str, np.ndarray]) -> None:
    assert 0.01 < (theirs["codes"] > 0).mean() < 0.8
    np.testing.assert_array_equal(codes_BF > 0, theirs["codes"] > 0)
    np.testing.assert_allclose(codes_BF, theirs["codes"], rtol=2e-5, atol=1e-4)
    np.testing.assert_allclose(y_hat_BE, theirs["y_hat"], rtol=1e-4, atol=1e-3)


def import_from(root: str, peer: str, folder: Path, **placement: str) -> SparseEncoder:
    source = {"format": peer, "path": str(folder)}
    spec = ImportDictionarySpec.parse({"root": root, "name": "foreign", "source": source, **placement})
    return load_encoder(open_store(root), str(import_dictionary(spec).ref()))[0]


@pytest.mark.parametrize(("peer", "name"), CASES, ids=[f"{peer}-{name}" for peer, name in CASES])
def test_what_a_peer_saved_is_read_as_it_computes(peer: str, name: str, made: Path, tmp_path: Path) -> None:
    folder, root = made / peer / name, (tmp_path / "store").as_uri()
    is_transcoder = "transcoder" in name or name.endswith(".mlp")
    placement = {"site": "image.0", "output_site": "text.0"} if is_transcoder else {"site": "image.0"}
    if peer == "dictionary_learning" and not (folder / "ae.safetensors").exists():
        convert_as_the_error_says(root, folder)
    encoder = import_from(root, peer, folder, **placement)
    theirs = np.load(folder / "result.npz")
    y_hat_BE = encoder.reconstruct(torch.from_numpy(theirs["x"]))
    assert_same(dense_codes(encoder, theirs["x"]), y_hat_BE.numpy(), theirs)


def convert_as_the_error_says(root: str, folder: Path) -> None:
    """A pickle is refused; the lines that the error gives are run in the peer's environment."""
    with pytest.raises(SpecError, match="pickle") as error:
        import_from(root, "dictionary_learning", folder, site="image.0")
    lines = str(error.value).split(CONVERSION_START)[1].split(CONVERSION_END)[0]
    code = "\n".join(line.removeprefix("    ") for line in lines.splitlines())
    subprocess.run([str(PYTHON), "-c", code], check=True, timeout=300)


EXPORTED = {
    "saelens": [
        "saelens-jumprelu",
        "saelens-topk",
        "saelens-gated",
        "gemma_scope-autoencoder",
        "gemma_scope-transcoder",
        "gemma_scope-second_skip_transcoder",
        "dictionary_learning-BatchTopKSAE",
    ],
    "sparsify": ["sparsify-topk", "sparsify-transcoder", "sparsify-skip_transcoder", "saelens-topk_rescaled"],
    "dictionary_learning": [
        "saelens-topk",
        "saelens-standard",
        "saelens-uncentred",
        "saelens-jumprelu",
        "saelens-matryoshka_checkpoint",
        "gemma_scope-autoencoder",
    ],
}
EXPORT_CASES = [(peer, name) for peer, names in EXPORTED.items() for name in names]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, str], SparseEncoder]]:
    """Everything that is exported, beside each folder what the peer made of it; and what it was."""
    top, encoders = tmp_path_factory.mktemp("exported"), {}
    np.save(top / "rows.npy", rows())
    for peer, name in EXPORT_CASES:
        case, root = foreign_folders()[name], (top / "stores" / peer / name).as_uri()
        placement = {"site": "resid_post.3"}
        if case.kind == "transcoder":
            placement = {"site": "mlp_in.3", "output_site": "mlp_out.3"}
        source = case.write(top / "sources" / peer / name)
        encoders[peer, name] = import_from(root, case.format, source, **placement)
        export_dictionary(root, "foreign@1", peer, str(top / peer / name))
    for peer in PEERS:
        run_peer("load", peer, top / peer, top / "rows.npy")
    return top, encoders


@pytest.mark.parametrize(
    ("peer", "name"), EXPORT_CASES, ids=[f"{name}-to-{peer}" for peer, name in EXPORT_CASES]
)
def test_what_is_exported_loads_in_the_peer_and_computes_the_same(
    peer: str, name: str, loaded: tuple[Path, dict[tuple[str, str], SparseEncoder]]
) -> None:
    top, encoders = loaded
    encoder = encoders[peer, name]
    y_hat_BE = encoder.reconstruct(torch.from_numpy(rows())).numpy()
    assert_same(dense_codes(encoder, rows()), y_hat_BE, np.load(top / peer / f"{name}.npz"))
