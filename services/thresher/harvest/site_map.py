"""Where each site lies in each model family: a table. A new family is a row, not code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from thresher.contracts.errors import SpecError

Arguments = tuple[Any, ...]


@dataclass(frozen=True)
class Tap:
    """One site: a module under the decoder layer ("" is the layer itself) and what to read of its call.

    `read(arguments, output)` returns rows [tokens, width] that the model will not write to again: vLLM's fused
    add-and-norm works in place, so whatever is not a fresh sum is cloned.
    """

    module: str
    read: Callable[[Arguments, Any], torch.Tensor]


@dataclass(frozen=True)
class Family:
    """A model family: where its decoder stack is, what its layers are called, and its taps."""

    stack: str
    """Path from the model to the module that owns the layers and `end_layer`."""
    layers: str
    """Name of the layer list in it."""
    taps: Mapping[str, Tap]


def _output(_: Arguments, output: Any) -> torch.Tensor:
    return _clone(output[0] if isinstance(output, tuple) else output)


def _second_output(_: Arguments, output: Any) -> torch.Tensor:
    return _clone(output[1])


def _output_sum(_: Arguments, output: Any) -> torch.Tensor:
    hidden, residual = output
    return hidden + residual  # type: ignore[no-any-return]


def _first_argument(arguments: Arguments, _: Any) -> torch.Tensor:
    return _clone(arguments[0])


def _residual_arguments(arguments: Arguments, _: Any) -> torch.Tensor:
    _positions, hidden, residual = arguments[:3]
    return _clone(hidden) if residual is None else hidden + residual


def _clone(rows: torch.Tensor) -> torch.Tensor:
    return rows.clone()


LLAMA = Family(
    stack="model",
    layers="layers",
    taps={
        "resid_pre": Tap("", _residual_arguments),
        "resid_mid": Tap("post_attention_layernorm", _second_output),
        "resid_post": Tap("", _output_sum),
        "mlp_in": Tap("post_attention_layernorm", _output),
        "mlp_out": Tap("mlp", _output),
        "attn_out": Tap("self_attn", _output),
    },
)

GPT2 = Family(
    stack="transformer",
    layers="h",
    taps={
        "resid_pre": Tap("", _first_argument),
        "resid_mid": Tap("ln_2", _first_argument),
        "resid_post": Tap("", _output),
        "mlp_in": Tap("ln_2", _output),
        "mlp_out": Tap("mlp", _output),
        "attn_out": Tap("attn", _output),
    },
)

FAMILIES: Mapping[str, Family] = {
    "LlamaForCausalLM": LLAMA,
    "MistralForCausalLM": LLAMA,
    "GPT2LMHeadModel": GPT2,
}
"""Family by the architecture that config.json names."""


def family_of(architecture: str) -> Family:
    """The family of an architecture.

    Raises:
        SpecError: it has no row in the table.
    """
    if architecture not in FAMILIES:
        raise SpecError(
            "model",
            architecture,
            allowed=sorted(FAMILIES),
            mend="Add a row for it to FAMILIES in thresher/harvest/site_map.py (see CONTRIBUTING: adding a site).",
        )
    return FAMILIES[architecture]
