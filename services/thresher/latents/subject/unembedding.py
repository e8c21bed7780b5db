"""What a direction of the residual stream does to the logits by itself: the logit lens.

The stream x leaves the model as W_U (scale ∘ norm(x)), so a direction d adds W_U (scale ∘ d) to the logits, up to the
positive factor 1 / rms(x) that all tokens share; a LayerNorm takes the mean out of d first. Capping keeps the order.
Source: nostalgebraist, interpreting GPT: the logit lens (2020); of dictionary latents, Bricken et al., Towards
monosemanticity (2023), and Gur-Arieh et al., Enhancing automated interpretability with output-centric feature
descriptions (2025), section 3, there called VocabProj.

Shape suffixes: V vocabulary, E width of the stream, B directions, K tokens of a direction.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from thresher.contracts.errors import SpecError

NORMS = ("norm.weight", "ln_f.weight")
HEADS = ("lm_head.weight",)
EMBEDDINGS = ("embed_tokens.weight", "wte.weight")
LAYERS = (".layers.", ".h.", "h.")
ONE_PLUS = ("GemmaForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM")
"""Their norms multiply by 1 + weight."""


@dataclass(frozen=True)
class Unembedding:
    """The final norm's scale and the head of a model, in float32."""

    scale_E: torch.Tensor
    W_U_VE: torch.Tensor
    centres: bool
    """The final norm is a LayerNorm."""

    def logits(self, directions_BE: torch.Tensor) -> torch.Tensor:
        """logits_BV that each direction adds, up to a positive factor."""
        if self.centres:
            directions_BE = directions_BE - directions_BE.mean(dim=1, keepdim=True)
        return (directions_BE * self.scale_E) @ self.W_U_VE.T

    def extreme_tokens(self, directions_BE: torch.Tensor, count: int) -> tuple[torch.Tensor, ...]:
        """Tokens and logits of the largest, then of the smallest logits, each [B, K], the most extreme first."""
        return extremes(self.logits(directions_BE), count)


def extremes(values_BV: torch.Tensor, count: int) -> tuple[torch.Tensor, ...]:
    """Indices and values of the `count` largest and of the `count` smallest values of each row."""
    largest = values_BV.topk(count, dim=1)
    smallest = values_BV.topk(count, dim=1, largest=False)
    return largest.indices, largest.values, smallest.indices, smallest.values


def load_unembedding(folder: str) -> Unembedding:
    """From the safetensors of a model folder.

    Raises:
        SpecError: they hold no final norm, or neither a head nor an embedding that it could be tied to.
    """
    config: dict[str, Any] = json.loads(Path(folder, "config.json").read_text())
    scale_E, bias_E = _tensor(folder, NORMS), _tensor(folder, ("ln_f.bias",))
    W_U_VE = _tensor(folder, HEADS)
    if W_U_VE is None:
        W_U_VE = _tensor(folder, EMBEDDINGS)
    if scale_E is None or W_U_VE is None:
        raise SpecError(
            "model",
            folder,
            mend="Its safetensors name no final norm and unembedding that are known: set features.output to null.",
        )
    if config["architectures"][0] in ONE_PLUS:
        scale_E = 1 + scale_E
    return Unembedding(scale_E, W_U_VE, centres=bias_E is not None)


def _tensor(folder: str, endings: tuple[str, ...]) -> torch.Tensor | None:
    """The tensor outside the layers whose name ends so, in float32."""
    for file in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (it is no mapping)
                of_layer = any(part in name for part in LAYERS[:2]) or name.startswith(LAYERS[2])
                if not of_layer and any(name == end or name.endswith(f".{end}") for end in endings):
                    return torch.as_tensor(tensors.get_tensor(name)).float()
    return None
