"""What is not imported, and what the error says."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from fixtures.foreign_dictionaries import D, F, ForeignFolder, foreign_folders
from thresher.contracts.errors import SpecError
from thresher.dictionary.formats.known import READERS
from thresher.dictionary.formats.source_folder import SourceFolder, is_pickle

CASES = foreign_folders()
WEIGHTS = {
    "saelens": "sae_weights.safetensors",
    "sparsify": "sae.safetensors",
    "dictionary_learning": "ae.safetensors",
    "gemma_scope": "params.npz",
}
CONFIGS = {"saelens": "cfg.json", "sparsify": "cfg.json", "dictionary_learning": "config.json"}
ONE_EACH = {
    "saelens": "saelens-jumprelu",
    "sparsify": "sparsify-topk",
    "dictionary_learning": "dictionary_learning-BatchTopKSAE",
    "gemma_scope": "gemma_scope-autoencoder",
}


class Touches:
    """Unpickling it makes a file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self._path, "w")


def read(tmp_path: Path, case: ForeignFolder, **files: bytes | None) -> object:
    folder = case.write(tmp_path)
    for name, data in files.items():
        (folder / name).unlink(missing_ok=True)
        if data is not None:
            (folder / name).write_bytes(data)
    return READERS[case.format](SourceFolder(str(folder)))


def packed(format_name: str, tensors: dict[str, np.ndarray]) -> bytes:
    if format_name != "gemma_scope":
        return save({name: np.array(value, order="C") for name, value in tensors.items()})
    buffer = io.BytesIO()
    np.savez(buffer, **tensors)
    return buffer.getvalue()


@pytest.mark.parametrize("format_name", ONE_EACH)
@pytest.mark.parametrize("kind", ["raw", "protocol_2", "torch_zip", "torch_legacy"])
def test_a_pickle_is_refused_by_its_content_and_never_run(
    format_name: str, kind: str, tmp_path: Path
) -> None:
    trap = Touches(str(tmp_path / "trapped"))
    buffer = io.BytesIO()
    if kind.startswith("torch"):
        torch.save({"x": trap}, buffer, _use_new_zipfile_serialization=kind == "torch_zip")
    else:
        pickle.dump(trap, buffer, protocol=2 if kind == "protocol_2" else None)
    case = CASES[ONE_EACH[format_name]]
    with pytest.raises(SpecError, match=r"pickle(?s:.*)weights_only=True(?s:.*)save_file"):
        read(tmp_path, case, **{WEIGHTS[format_name]: buffer.getvalue()})
    assert not (tmp_path / "trapped").exists()
    assert is_pickle(buffer.getvalue())


def test_a_folder_with_a_pickle_alone_is_told_how_to_convert_it(tmp_path: Path) -> None:
    case = CASES["dictionary_learning-AutoEncoder"]
    with pytest.raises(SpecError, match=r"not there(?s:.*)ae\.pt is a pickle(?s:.*)ae\.safetensors"):
        read(tmp_path, case, **{"ae.safetensors": None, "ae.pt": b"PK"})


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, W_enc=np.array([Touches(str(tmp_path / "trapped"))], dtype=object))
    with pytest.raises(SpecError, match="plain arrays"):
        read(tmp_path, CASES["gemma_scope-autoencoder"], **{"params.npz": buffer.getvalue()})
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("format_name", ONE_EACH)
@pytest.mark.parametrize("damage", ["nan", "inf", "shape", "integers", "absent", "extra", "cut", "empty"])
def test_damaged_weights_are_refused(format_name: str, damage: str, tmp_path: Path) -> None:
    case = CASES[ONE_EACH[format_name]]
    tensors = dict(case.tensors)
    name = next(name for name in tensors if "enc" in name and tensors[name].ndim == 2)
    value = tensors[name].copy()
    value[1, 2] = {"nan": np.nan, "inf": np.inf}.get(damage, value[1, 2])
    tensors[name] = value
    if damage == "shape":
        tensors[name] = value[:, :-1]
    elif damage == "integers":
        tensors[name] = value.astype(np.int32)
    elif damage == "absent":
        del tensors[name]
    elif damage == "extra":
        tensors["W_gate"] = value
    data = packed(format_name, tensors)
    data = {"cut": data[: len(data) // 2], "empty": b""}.get(damage, data)
    said = {
        "nan": "not finite",
        "inf": "not finite",
        "shape": "shape",
        "integers": "int32",
        "absent": "lacks",
        "extra": "W_gate",
        "cut": "whole",
        "empty": "whole",
    }[damage]
    with pytest.raises(SpecError, match=f"source.path.*{said}"):
        read(tmp_path, case, **{WEIGHTS[format_name]: data})


@pytest.mark.parametrize("format_name", CONFIGS)
@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null"])
def test_a_config_that_is_no_mapping_is_refused(format_name: str, data: bytes, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"source\.path"):
        read(tmp_path, CASES[ONE_EACH[format_name]], **{CONFIGS[format_name]: data})


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        (
            "saelens-standard",
            {"architecture": "transformer"},
            r"'transformer' is unknown|Allowed: standard, topk",
        ),
        ("saelens-standard", {"architecture": "abstopk"}, "negative"),
        ("saelens-standard", {"architecture": "matching_pursuit"}, "many passes"),
        ("saelens-standard", {"architecture": "temporal"}, "earlier tokens"),
        ("saelens-standard", {"architecture": ["standard"]}, "unknown"),
        ("saelens-standard", {"normalize_activations": "layer_norm"}, "each row by itself"),
        ("saelens-standard", {"normalize_activations": "constant_norm_rescale"}, "each row by itself"),
        ("saelens-standard", {"normalize_activations": "covariance_whitening"}, "whiten"),
        ("saelens-standard", {"normalize_activations": "other"}, "unknown"),
        ("saelens-standard", {"activation_fn_str": "tanh-relu"}, "tanh-relu"),
        ("saelens-standard", {"d_sae": F + 1}, "d_sae"),
        ("saelens-standard", {"d_in": D + 1}, "d_in"),
        ("saelens-topk", {"k": F + 1}, "k 21"),
        ("saelens-topk", {"k": None}, "k None"),
        ("saelens-jumprelu_transcoder", {"d_out": 3}, "d_out"),
        ("sparsify-topk", {"activation": "groupmax"}, "groupmax"),
        ("sparsify-topk", {"signed": True}, "topk"),
        ("sparsify-topk", {"k": 0}, "k 0"),
        ("sparsify-topk", {"num_latents": F + 1}, "latents"),
        ("dictionary_learning-AutoEncoder", {"trainer": {"dict_class": "IdentityDict"}}, "IdentityDict"),
        ("dictionary_learning-AutoEncoder", {"trainer": {"dict_class": "AutoEncoderTopK"}}, "lacks k"),
        ("dictionary_learning-AutoEncoder", {"trainer": None}, "trainer"),
    ],
)
def test_a_config_of_another_kind_is_refused_in_words(
    name: str, changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    case = CASES[name]
    file = CONFIGS[case.format]
    config = json.loads(case.files[file]) | changes
    with pytest.raises(SpecError, match=said) as error:
        read(tmp_path, case, **{file: json.dumps(config).encode()})
    assert str(tmp_path) in str(error.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"source.path.*folder that exists"):
        SourceFolder(str(tmp_path / "nowhere"))


def test_an_old_saelens_config_is_understood(tmp_path: Path) -> None:
    """Before version 6 facts of the model lay at the top, and topk was an activation."""
    config = {
        "d_in": D,
        "d_sae": F,
        "dtype": "torch.float32",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 3},
        "hook_name": "blocks.7.hook_resid_pre",
        "model_name": "gpt2-small",
        "normalize_activations": False,
    }
    found = read(tmp_path, CASES["saelens-topk"], **{"cfg.json": json.dumps(config).encode()})
    assert (found.encoder.k, found.site, found.model_name) == (3, "resid_pre.7", "gpt2-small")
