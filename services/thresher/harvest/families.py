"""Where each site lies in each model family of vLLM: a table. A new family is a row, not code.

vLLM's decoder layers carry the residual stream as two tensors, what the last block added and the stream before it, and
its fused add-and-norm kernels write their sum into both of them. So a layer's arguments are no longer what they were
when its hook runs, and what a module gave out is overwritten by the next one. Every reader here therefore reads at the
module that has just made the value, and clones whatever is not a fresh sum.

Under tensor parallelism every kind but mlp_neurons is whole on each rank: the output projections of attention and of
the MLP, and the experts, add up over the ranks before they return, and the stream is held by all. The input of a down
projection is cut over the ranks.

Read in the sources of vLLM 0.32: llama, mistral, phi3, ernie45, qwen2, qwen3, qwen2_moe, qwen3_moe, olmoe, mixtral,
gemma, gemma2, gemma3, gpt2.

Shapes: N tokens of the step, D width of the site.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from thresher.contracts.errors import SpecError

Arguments = tuple[Any, ...]


@dataclass(frozen=True)
class Tap:
    """One site: a module under the decoder layer ("" is the layer itself) and what to read of its call.

    `read(arguments, output)` runs right after the module and returns rows [N, D] that the model will not write
    to again.
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
    """By kind of site."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """Why a kind is not among the taps, for the user."""


def _output(_: Arguments, output: Any) -> torch.Tensor:
    return _clone(output[0] if isinstance(output, tuple) else output)


def _output_sum(_: Arguments, output: Any) -> torch.Tensor:
    hidden, residual = output
    return hidden + residual  # type: ignore[no-any-return]


def _argument(arguments: Arguments, _: Any) -> torch.Tensor:
    return _clone(arguments[0])


def _normed_stream(arguments: Arguments, output: Any) -> torch.Tensor:
    """The stream that a norm has read: it gives the sum out beside it, or in the first layer has nothing to add."""
    return _clone(output[1] if isinstance(output, tuple) else arguments[0])


def _neurons(arguments: Arguments, _: Any) -> torch.Tensor:
    if not isinstance(arguments[0], torch.Tensor):
        raise SpecError(
            "sites",
            "mlp_neurons",
            mend="vLLM quantises this model's neurons within their activation function: use the unquantised model.",
        )
    return _clone(arguments[0])


def _clone(rows_ND: torch.Tensor) -> torch.Tensor:
    return rows_ND.clone()


_STREAM = {
    "resid_pre": Tap("input_layernorm", _normed_stream),
    "resid_post": Tap("", _output_sum),
}
_NEURONS = {"mlp_neurons": Tap("mlp.down_proj", _neurons)}
_NO_NEURONS = {
    "mlp_neurons": "Each expert of this model has neurons of its own: there is no one row of them."
}


def _pre_norm(mlp: str) -> dict[str, Tap]:
    """Taps of layers with a norm before attention and one before the MLP."""
    return {
        **_STREAM,
        "resid_mid": Tap("post_attention_layernorm", _normed_stream),
        "mlp_in": Tap("post_attention_layernorm", _output),
        "mlp_out": Tap(mlp, _output),
        "attn_out": Tap("self_attn", _output),
    }


LLAMA = Family("model", "layers", {**_pre_norm("mlp"), **_NEURONS})

MIXTURE_OF_EXPERTS = Family("model", "layers", _pre_norm("mlp"), absent=_NO_NEURONS)

MIXTRAL = Family("model", "layers", _pre_norm("block_sparse_moe"), absent=_NO_NEURONS)

# Norms before and after each block: what a block adds to the stream is its second norm's output.
GEMMA2 = Family(
    "model",
    "layers",
    {
        **_STREAM,
        **_NEURONS,
        "resid_mid": Tap("pre_feedforward_layernorm", _normed_stream),
        "mlp_in": Tap("pre_feedforward_layernorm", _output),
        "mlp_out": Tap("post_feedforward_layernorm", _output),
        "attn_out": Tap("post_attention_layernorm", _output),
    },
)

GPT2 = Family(
    "transformer",
    "h",
    {
        "resid_pre": Tap("ln_1", _argument),
        "resid_mid": Tap("ln_2", _argument),
        "resid_post": Tap("", _output),
        "mlp_in": Tap("ln_2", _output),
        "mlp_out": Tap("mlp", _output),
        "attn_out": Tap("attn", _output),
        "mlp_neurons": Tap("mlp.c_proj", _neurons),
    },
)

FAMILIES: Mapping[str, Family] = {
    "LlamaForCausalLM": LLAMA,
    "MistralForCausalLM": LLAMA,
    "Ministral3ForCausalLM": LLAMA,
    "Phi3ForCausalLM": LLAMA,
    "Ernie4_5ForCausalLM": LLAMA,
    "Qwen2ForCausalLM": LLAMA,
    "Qwen3ForCausalLM": LLAMA,
    "GemmaForCausalLM": LLAMA,
    "Gemma2ForCausalLM": GEMMA2,
    "Gemma3ForCausalLM": GEMMA2,
    "Qwen2MoeForCausalLM": MIXTURE_OF_EXPERTS,
    "Qwen3MoeForCausalLM": MIXTURE_OF_EXPERTS,
    "OlmoeForCausalLM": MIXTURE_OF_EXPERTS,
    "MixtralForCausalLM": MIXTRAL,
    "GPT2LMHeadModel": GPT2,
}
"""Family by the architecture that config.json names."""

EAGLE3_ARCHITECTURES = frozenset(
    {
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "Ministral3ForCausalLM",
        "Phi3ForCausalLM",
        "Ernie4_5ForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen3ForCausalLM",
        "Qwen3MoeForCausalLM",
    }
)
"""Those whose class in vLLM gives the residual stream after chosen layers as auxiliary outputs (SupportsEagle3)."""
