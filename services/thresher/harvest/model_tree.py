"""What a model's layers look like, for a user who adds their family to the table."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

DEPTH = 2
"""Levels of modules shown under a decoder layer."""

_BAD_CONFIG = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What building from a config that is unknown, incomplete or contradictory raises, beside transformers' own."""


def first_layer_tree(folder: Path) -> str:
    """The modules of the first decoder layer with their classes, a line each, as transformers builds them.

    Only the shape is built, on torch's meta device, from config.json. Where transformers cannot, the text says so:
    this explains another error, and must not take its place.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        # Never the code that a model's folder may bring along.
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (*_BAD_CONFIG, StrictDataclassError) as error:
        return f"transformers cannot build it, so its modules are not shown ({_first_line(error)})."
    finally:
        logging.set_verbosity(verbosity)
    lists = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.ModuleList)]
    if not lists:
        return "It has no list of layers."
    name, layers = min(lists, key=lambda item: item[0].count("."))
    head = f"{name}.0 of {len(layers)}: {type(layers[0]).__name__}"
    note = "Its first layer in transformers, whose names vLLM mostly keeps (see vllm/model_executor/models):"
    return "\n".join([note, head, *_lines(layers[0], 1)])


_NOT_BUILT = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What configs that are unknown, incomplete or contradictory have raised in transformers."""


def _lines(module: nn.Module, depth: int) -> Iterator[str]:
    for name, child in module.named_children():
        yield f"{'  ' * depth}{name}: {type(child).__name__}"
        if depth < DEPTH:
            yield from _lines(child, depth + 1)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
