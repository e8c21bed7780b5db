"""Activations by transformers' own forward pass: what a harvest must agree with.

The places of sites (latents/subject/places.py) share nothing with the table of vLLM's in families.py.

Shapes: S sequences, B sequences of a batch, L tokens a sequence, D width of a site.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from thresher.contracts.sites import Site
from thresher.latents.subject.places import find_place, places_of

BATCH_TOKENS = 2048
"""Tokens of one forward pass: eager attention holds their square for each head."""


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


def _keeper(
    kept: dict[str, torch.Tensor], site: str, side: Literal["input", "output"]
) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]:
    def keep(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
        value = output if side == "output" else arguments[0] if arguments else keywords["hidden_states"]
        kept[site] = (value[0] if isinstance(value, tuple) else value).clone()

    return keep
