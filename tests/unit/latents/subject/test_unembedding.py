"""The logit lens of each family against its own norm and head.

Shape suffixes: B directions, E width, V vocabulary.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from thresher.contracts.errors import SpecError
from thresher.latents.subject.unembedding import extremes, load_unembedding

WIDTH = 128


@pytest.mark.parametrize(
    "architecture",
    ["LlamaForCausalLM", "GemmaForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM", "GPT2LMHeadModel"],
)
def test_a_direction_adds_what_the_models_own_norm_and_head_make_of_it(
    architecture: str, tiny_model: Callable[[str], Path]
) -> None:
    """norm(d) is scale * d / rms(d), of a LayerNorm with the mean taken out and a bias added."""
    from transformers import AutoModelForCausalLM

    folder = tiny_model(architecture)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    norm = model.base_model.ln_f if architecture.startswith("GPT2") else model.base_model.norm
    directions_BE = 100 * torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(0)) + 20
    with torch.inference_mode():
        nothing_BV = model.lm_head(norm(torch.zeros(1, WIDTH)))
        expected_BV = model.lm_head(norm(directions_BE)) - nothing_BV
    spread_BE = directions_BE
    if architecture.startswith("GPT2"):
        spread_BE = directions_BE - directions_BE.mean(dim=1, keepdim=True)
    rms_B1 = spread_BE.pow(2).mean(dim=1, keepdim=True).sqrt()
    found_BV = load_unembedding(str(folder)).logits(directions_BE)
    torch.testing.assert_close(found_BV / rms_B1, expected_BV, rtol=1e-4, atol=1e-4)


def test_extremes_are_the_most_extreme_first() -> None:
    largest, high, smallest, low = extremes(torch.tensor([[3.0, -1.0, 7.0, 0.0]]), 2)
    assert (largest.tolist(), high.tolist()) == ([[2, 0]], [[7.0, 3.0]])
    assert (smallest.tolist(), low.tolist()) == ([[1, 3]], [[-1.0, 0.0]])


def test_a_model_without_known_names_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_llama / "config.json", tmp_path / "config.json")
    with pytest.raises(SpecError, match="output to null"):
        load_unembedding(str(tmp_path))
