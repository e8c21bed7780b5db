"""Every kind of site, spliced by hooks, against layers that are written out with the splice in the middle.

Shape suffixes: B sequences, L tokens, D width.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from thresher.contracts.errors import SpecError
from thresher.evaluation.splice.spliced_model import SplicedModel

VOCABULARY, LAYER = 50, 1
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "initializer_range": 0.3,
}
MODELS = {
    "LlamaForCausalLM": ("LlamaConfig", SHAPE),
    "Gemma2ForCausalLM": ("Gemma2Config", SHAPE | {"final_logit_softcapping": 3.0, "pad_token_id": None}),
    "GPT2LMHeadModel": (
        "GPT2Config",
        {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 3, "n_head": 2, "initializer_range": 0.3},
    ),
}
Splice = Callable[[str, torch.Tensor], torch.Tensor]
KINDS = ("resid_pre", "attn_out", "resid_mid", "mlp_in", "mlp_neurons", "mlp_out", "resid_post")


class WrittenOutLayer(nn.Module):
    """A decoder layer in plain words: `at(kind, rows)` gives the rows to go on with."""

    def __init__(self, layer: nn.Module, at: Splice) -> None:
        super().__init__()
        self.layer, self.at = layer, at

    def forward(self, hidden: torch.Tensor, *arguments: Any, **keywords: Any) -> Any:
        at, layer = self.at, self.layer
        hidden = at("resid_pre", hidden)
        if hasattr(layer, "attn"):
            out = layer.attn(layer.ln_1(hidden), attention_mask=arguments[1])[0]
        else:
            out = layer.self_attn(layer.input_layernorm(hidden), **keywords)[0]
        before_mlp = layer.ln_2 if hasattr(layer, "ln_2") else layer.post_attention_layernorm
        after_mlp: Callable[[torch.Tensor], torch.Tensor] = lambda rows: rows  # noqa: E731
        if hasattr(layer, "pre_feedforward_layernorm"):
            out = layer.post_attention_layernorm(out)
            before_mlp, after_mlp = layer.pre_feedforward_layernorm, layer.post_feedforward_layernorm
        hidden = at("resid_mid", hidden + at("attn_out", out))
        added = after_mlp(self.mlp(at("mlp_in", before_mlp(hidden))))
        return at("resid_post", hidden + at("mlp_out", added))

    def mlp(self, normed: torch.Tensor) -> torch.Tensor:
        mlp = self.layer.mlp
        if hasattr(mlp, "c_fc"):
            return mlp.c_proj(self.at("mlp_neurons", mlp.act(mlp.c_fc(normed))))
        return mlp.down_proj(self.at("mlp_neurons", mlp.act_fn(mlp.gate_proj(normed)) * mlp.up_proj(normed)))


@pytest.fixture(scope="module", params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import transformers

    config_class, shape = MODELS[request.param]
    torch.manual_seed(0)
    model = getattr(transformers, request.param)(getattr(transformers, config_class)(**shape))
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def token_ids_BL() -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(1))


def written_out(folder: Path, token_ids_BL: torch.Tensor, at: Splice) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    layers = model.base_model.layers if hasattr(model.base_model, "layers") else model.base_model.h
    layers[LAYER] = WrittenOutLayer(layers[LAYER], at)
    with torch.no_grad():
        return model(token_ids_BL, use_cache=False).logits


def bent(y_BLD: torch.Tensor) -> torch.Tensor:
    return 0.5 * y_BLD.flip(-1) + 0.3 * torch.tanh(y_BLD).roll(1, dims=-1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_is_replaced_for_all_that_reads_it(
    folder: Path, kind: str, token_ids_BL: torch.Tensor
) -> None:
    model = SplicedModel(folder, f"{kind}.{LAYER}", f"{kind}.{LAYER}")
    expected = written_out(folder, token_ids_BL, lambda at, rows: bent(rows) if at == kind else rows)
    found = model.logits(token_ids_BL, lambda _, y_BLD: bent(y_BLD))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    clean = model.logits(token_ids_BL)
    assert (found - clean).abs().max() > 0.1
    torch.testing.assert_close(clean, written_out(folder, token_ids_BL, lambda _, rows: rows))


@pytest.mark.parametrize(
    ("read", "written"),
    [
        ("mlp_in", "mlp_out"),
        ("resid_pre", "resid_post"),
        ("resid_mid", "mlp_out"),
        ("resid_pre", "resid_mid"),
    ],
)
def test_a_site_is_replaced_from_another(
    folder: Path, read: str, written: str, token_ids_BL: torch.Tensor
) -> None:
    kept: dict[str, torch.Tensor] = {}

    def at(kind: str, rows: torch.Tensor) -> torch.Tensor:
        kept[kind] = rows
        return bent(kept[read]) + 0.1 * rows if kind == written else rows

    model = SplicedModel(folder, f"{read}.{LAYER}", f"{written}.{LAYER}")
    found = model.logits(token_ids_BL, lambda x_BLD, y_BLD: bent(x_BLD) + 0.1 * y_BLD)
    torch.testing.assert_close(found, written_out(folder, token_ids_BL, at), rtol=1e-4, atol=1e-4)


def test_observing_shows_the_rows_and_changes_nothing(folder: Path, token_ids_BL: torch.Tensor) -> None:
    kept: dict[str, torch.Tensor] = {}
    written_out(folder, token_ids_BL, lambda kind, rows: kept.setdefault(kind, rows))
    model, seen = SplicedModel(folder, "mlp_in.1", "resid_mid.1"), []
    before = model.logits(token_ids_BL)
    with pytest.raises(AssertionError, match="before the one written"):
        model.observe(token_ids_BL, lambda x_BLD, y_BLD: None)
    model = SplicedModel(folder, "resid_pre.1", "resid_mid.1")
    model.observe(token_ids_BL, lambda x_BLD, y_BLD: seen.extend((x_BLD, y_BLD)))
    torch.testing.assert_close(seen[0], kept["resid_pre"])
    torch.testing.assert_close(seen[1], kept["resid_mid"])
    assert torch.equal(model.logits(token_ids_BL), before), "hooks are gone"


def test_a_layer_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(SpecError, match="layers 0 to 2"):
        SplicedModel(folder, "resid_pre.0", "resid_post.3")
