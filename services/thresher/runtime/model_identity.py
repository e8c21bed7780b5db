"""Who a model is, from the bytes of its folder. Hashes of large files are kept between runs."""

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

from thresher.contracts.errors import SpecError
from thresher.contracts.ids import canonical_json, sha256_hex
from thresher.contracts.manifests import ModelIdentity
from thresher.runtime.cache import cache_folder

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
)


def model_folder(field: str, path: str) -> Path:
    """The folder, if it holds a model.

    Raises:
        SpecError: there is no such folder, or no config.json in it.
    """
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise SpecError(field, path, mend="Give a folder with config.json, *.safetensors and tokenizer.json.")
    return folder


def tokenizer_sha256(field: str, path: str) -> str:
    """Hash over the tokenizer's files.

    Raises:
        SpecError: the folder has no tokenizer.json.
    """
    folder = Path(path)
    if not (folder / "tokenizer.json").is_file():
        raise SpecError(field, path, mend="Give a folder that holds a tokenizer.json.")
    return _files_sha256([folder / name for name in TOKENIZER_FILES if (folder / name).is_file()])


def identify_model(path: str) -> ModelIdentity:
    """Read a model folder's config and hash its files.

    Raises:
        SpecError: the folder is absent, or lacks weights, a tokenizer or a config that names its shape.
    """
    folder = model_folder("model", path)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise SpecError(
            "model", path, mend="The folder holds no *.safetensors: convert the weights to safetensors."
        )
    return ModelIdentity(
        name=folder.name,
        architecture=_first(config, path, "architectures")[0],
        num_layers=_first(config, path, "num_hidden_layers", "n_layer"),
        d_model=_first(config, path, "hidden_size", "n_embd"),
        d_mlp=_num_neurons(config),
        weights_sha256=_files_sha256(weights),
        config_sha256=sha256_hex(canonical_json(config).encode()),
        tokenizer_sha256=tokenizer_sha256("model", path),
    )


def check_same_model(field: str, expected: ModelIdentity, folder: str) -> ModelIdentity:
    """The model of the folder; SpecError names the first of config, weights and tokenizer that differs."""
    found = identify_model(folder)
    for name in ("config_sha256", "weights_sha256", "tokenizer_sha256"):
        due, given = getattr(expected, name), getattr(found, name)
        if due != given:
            what = name.removesuffix("_sha256")
            raise SpecError(
                field,
                folder,
                mend=f"The harvest was made with {expected.name}, whose {what} has the sha256 {due[:12]}…; that of "
                f"this folder is {given[:12]}…: give the folder of that very model.",
            )
    return found


def _num_neurons(config: dict[str, Any]) -> int | None:
    """Of one MLP. GPT-2's config leaves n_inner null, or out, for four times the stream's width."""
    if "n_embd" in config:
        return config.get("n_inner") or 4 * int(config["n_embd"])
    return config.get("intermediate_size")


def _first(config: dict[str, Any], path: str, *names: str) -> Any:
    for name in names:
        if name in config:
            return config[name]
    raise SpecError(
        "model", path, mend=f"Its config.json has none of {', '.join(names)}: this is no decoder model."
    )


def _files_sha256(files: list[Path]) -> str:
    return sha256_hex(canonical_json({file.name: _file_sha256(file) for file in files}).encode())


def _file_sha256(file: Path) -> str:
    stat = file.stat()
    stamp = canonical_json([str(file.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino])
    kept = cache_folder() / "hashes" / sha256_hex(stamp.encode())
    if kept.is_file():
        return kept.read_text()
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(
        f".{uuid.uuid4().hex}.partial"
    )  # several harvests may hash one model at a time
    partial.write_text(digest)
    partial.replace(kept)
    return digest
