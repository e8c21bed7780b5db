"""Activations by transformers' own forward pass: what a harvest must agree with.

The places are read off transformers' module trees, and share nothing with the table of vLLM's in families.py: an error
in one of them shows as a disagreement.

Shapes: S sequences, B sequences of a batch, L tokens a sequence, D width of a site.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from thresher.contracts.errors import SpecError
from thresher.contracts.sites import Site

BATCH_TOKENS = 2048
"""Tokens of one forward pass: eager attention holds their square for each head."""


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


def reference_rows(
    folder: Path,
    token_ids_SL: NDArray[Any],
    sites: Sequence[str],
    dtype: torch.dtype,
    family: str | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Rows [S, L, D] of each site, of a model computed in `dtype` on the CPU.

    Attention is eager: it alone of transformers' kinds applies soft-capping.

    Args:
        folder: of the model, as transformers loads it.
        family: reads the sites as this architecture's, where the model's own is not in PLACES.

    Raises:
        SpecError: the architecture, a kind or a layer is not there.
    """
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    body = model.base_model
    places = places_of(family or model.config.architectures[0])
    kept: dict[str, torch.Tensor] = {}
    for site in sites:
        module, side = find_place(body, places, Site.parse(site))
        module.register_forward_hook(_keeper(kept, site, side), with_kwargs=True)
    parts: dict[str, list[NDArray[np.float32]]] = {site: [] for site in sites}
    batch = max(1, BATCH_TOKENS // token_ids_SL.shape[1])
    for first in range(0, len(token_ids_SL), batch):
        token_ids_BL = torch.from_numpy(token_ids_SL[first : first + batch].astype(np.int64))
        with torch.inference_mode():
            body(token_ids_BL, use_cache=False)
        for site in sites:
            parts[site].append(kept.pop(site).float().numpy())
    return {site: np.concatenate(rows) for site, rows in parts.items()}


def places_of(architecture: str) -> Places:
    """Where the sites of a family lie; SpecError if it is not in the table."""
    if architecture not in PLACES:
        raise SpecError(
            "model", architecture, allowed=sorted(PLACES), mend="Add its places to reference_forward.py."
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


def _keeper(
    kept: dict[str, torch.Tensor], site: str, side: Literal["input", "output"]
) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]:
    def keep(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        value = output if side == "output" else arguments[0] if arguments else keywords["hidden_states"]
        kept[site] = (value[0] if isinstance(value, tuple) else value).clone()

    return keep
