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
from thresher.latents.subject.spliced_model import SplicedModel

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
    site = f"{kind}.{LAYER}"
    model = SplicedModel(folder, [site])
    expected = written_out(folder, token_ids_BL, lambda at, rows: bent(rows) if at == kind else rows)
    found = model.logits(token_ids_BL, {site: bent})
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    clean = model.logits(token_ids_BL)
    assert (found - clean).abs().max() > 0.1
    torch.testing.assert_close(clean, written_out(folder, token_ids_BL, lambda _, rows: rows))


@pytest.mark.parametrize(
    "kinds",
    [
        ("mlp_out", "mlp_in"),
        ("resid_post", "resid_mid"),
        ("resid_post", "resid_mid", "resid_pre"),
        ("resid_mid", "attn_out", "mlp_neurons", "resid_post"),
        KINDS,
    ],
)
def test_several_sites_are_replaced_as_they_are_computed(
    folder: Path, kinds: tuple[str, ...], token_ids_BL: torch.Tensor
) -> None:
    """In whatever order they are named."""
    model = SplicedModel(folder, [f"{kind}.{LAYER}" for kind in kinds])
    expected = written_out(folder, token_ids_BL, lambda at, rows: bent(rows) if at in kinds else rows)
    found = model.logits(token_ids_BL, {f"{kind}.{LAYER}": bent for kind in kinds})
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_end_of_a_layer_and_the_start_of_the_next_are_replaced_one_after_the_other(
    folder: Path, token_ids_BL: torch.Tensor
) -> None:
    model = SplicedModel(folder, ["resid_pre.2", "resid_post.1"])
    both = model.logits(token_ids_BL, {"resid_pre.2": bent, "resid_post.1": torch.tanh})
    one = model.logits(token_ids_BL, {"resid_post.1": lambda y_BLD: bent(torch.tanh(y_BLD))})
    torch.testing.assert_close(both, one)


def test_reading_shows_the_rows_and_changes_nothing(folder: Path, token_ids_BL: torch.Tensor) -> None:
    kept: dict[str, torch.Tensor] = {}

    def keep(kind: str, rows: torch.Tensor) -> torch.Tensor:
        kept[f"{kind}.{LAYER}"] = rows.clone()
        return rows

    written_out(folder, token_ids_BL, keep)
    model = SplicedModel(folder, [f"{kind}.{LAYER}" for kind in KINDS])
    before = model.logits(token_ids_BL)
    logits, rows = model.logits_and_rows(token_ids_BL)
    assert torch.equal(logits, before)
    for found in (rows, model.rows(token_ids_BL)):
        assert found.keys() == kept.keys()
        for site, y_BLD in found.items():
            torch.testing.assert_close(y_BLD, kept[site])
    assert torch.equal(model.logits(token_ids_BL), before), "hooks are gone"


def test_hooks_are_gone_after_a_replacement_that_failed(folder: Path, token_ids_BL: torch.Tensor) -> None:
    model = SplicedModel(folder, ["resid_mid.1"])
    before = model.logits(token_ids_BL)
    with pytest.raises(AssertionError, match="of their width"):
        model.logits(token_ids_BL, {"resid_mid.1": lambda y_BLD: y_BLD[:, :, 1:]})
    assert torch.equal(model.logits(token_ids_BL), before)


def test_a_layer_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(SpecError, match="layers 0 to 2"):
        SplicedModel(folder, ["resid_pre.0", "resid_post.3"])
