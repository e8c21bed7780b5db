"""Where the sites of a family lie in transformers' module trees.

Read off its sources, and sharing nothing with the table of vLLM's in harvest/families.py: an error in one of them shows
as a disagreement between a harvest and the reference forward.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import nn

from thresher.contracts.errors import SpecError
from thresher.contracts.sites import Site


@dataclass(frozen=True)
class Place:
    """A module under the decoder layer ("" is the layer itself), and whether its input or its output is meant."""

    module: str
    side: Literal["input", "output"]


@dataclass(frozen=True)
class Places:
    """Of one family: the list of layers under the model without its head, and the place of each kind of site."""

    layers: str
    by_kind: Mapping[str, Place]


_LAYER = {"resid_pre": Place("", "input"), "resid_post": Place("", "output")}
_DOWN_PROJECTION = {"mlp_neurons": Place("mlp.down_proj", "input")}
_PRE_NORM = {
    **_LAYER,
    "resid_mid": Place("post_attention_layernorm", "input"),
    "mlp_in": Place("post_attention_layernorm", "output"),
    "mlp_out": Place("mlp", "output"),
    "attn_out": Place("self_attn", "output"),
}
LLAMA = Places("layers", {**_PRE_NORM, **_DOWN_PROJECTION})
MIXTURE_OF_EXPERTS = Places("layers", _PRE_NORM)
GEMMA2 = Places(
    "layers",
    {
        **_LAYER,
        **_DOWN_PROJECTION,
        "resid_mid": Place("pre_feedforward_layernorm", "input"),
        "mlp_in": Place("pre_feedforward_layernorm", "output"),
        "mlp_out": Place("post_feedforward_layernorm", "output"),
        "attn_out": Place("post_attention_layernorm", "output"),
    },
)
GPT2 = Places(
    "h",
    {
        **_LAYER,
        "resid_mid": Place("ln_2", "input"),
        "mlp_in": Place("ln_2", "output"),
        "mlp_out": Place("mlp", "output"),
        "attn_out": Place("attn", "output"),
        "mlp_neurons": Place("mlp.c_proj", "input"),
    },
)

PLACES: Mapping[str, Places] = {
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
    "MixtralForCausalLM": MIXTURE_OF_EXPERTS,
    "GPT2LMHeadModel": GPT2,
}
"""Places by architecture; of transformers 5."""


def places_of(architecture: str) -> Places:
    """Where the sites of a family lie; SpecError if it is not in the table."""
    if architecture not in PLACES:
        raise SpecError(
            "model", architecture, allowed=sorted(PLACES), mend="Add its places to latents/subject/places.py."
        )
    return PLACES[architecture]


def find_place(body: nn.Module, places: Places, site: Site) -> tuple[nn.Module, Literal["input", "output"]]:
    """The module of a site in a model without its head, and the side of it; SpecError if it is not there."""
    layers = body.get_submodule(places.layers)
    assert isinstance(layers, nn.ModuleList)
    if site.layer >= len(layers):
        raise SpecError("sites", str(site), allowed=f"layers 0 to {len(layers) - 1}", mend="Lower the layer.")
    if site.kind not in places.by_kind:
        raise SpecError(
            "sites", str(site), allowed=sorted(places.by_kind), mend="Use a kind that this model has."
        )
    place = places.by_kind[site.kind]
    return layers[site.layer].get_submodule(place.module), place.side
