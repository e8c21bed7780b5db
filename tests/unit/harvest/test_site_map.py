"""The table of families: what it refuses, and that its readers outlive kernels that work in place."""

import json

import pytest
import torch
from torch import nn

from fixtures.models import TINY_MODELS
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import ModelIdentity
from thresher.contracts.sites import SITE_KINDS, Site, site_width
from thresher.harvest.families import FAMILIES
from thresher.harvest.site_map import check_kind, check_tensor_parallel, family_of
from thresher.latents.subject.places import PLACES

WIDTH = 8


def _identity(**more):
    shape = {"name": "tiny", "architecture": "LlamaForCausalLM", "num_layers": 2, "d_model": 16}
    return ModelIdentity(**shape, weights_sha256="w", config_sha256="c", tokenizer_sha256="t", **more)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_every_kind_is_mapped_or_its_absence_explained(architecture):
    family = FAMILIES[architecture]
    assert family.taps.keys() | family.absent.keys() == set(SITE_KINDS)
    assert not family.taps.keys() & family.absent.keys()


def test_every_family_has_a_reference_for_each_kind_and_a_tiny_model_to_compare_them_on():
    assert FAMILIES.keys() == PLACES.keys() == TINY_MODELS.keys()
    for architecture, family in FAMILIES.items():
        assert family.taps.keys() == PLACES[architecture].by_kind.keys(), architecture


def test_an_unknown_architecture_shows_its_layer_and_what_to_do(tmp_path):
    config = {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "hidden_size": 16,
        "num_attention_heads": 2,
        "num_hidden_layers": 3,
        "intermediate_size": 32,
        "vocab_size": 50,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SpecError) as caught:
        family_of("GPTNeoXForCausalLM", None, tmp_path)
    text = str(caught.value)
    assert caught.value.field == "model"
    for part in ("'GPTNeoXForCausalLM'", "Gemma3ForCausalLM", "families.py", "CONTRIBUTING", "Set family"):
        assert part in text
    tree = text.splitlines()[1:]
    assert "gpt_neox.layers.0 of 3: GPTNeoXLayer" in tree
    assert "  attention: GPTNeoXAttention" in tree
    assert "    dense_4h_to_h: Linear" in tree


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "strange"},
        {
            "model_type": "strange",
            "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"},
        },
        {"model_type": "gpt_neox", "hidden_size": 16, "num_attention_heads": 0},
        {"model_type": "gpt_neox", "hidden_size": "wide"},
        {},
    ],
)
def test_a_model_that_transformers_cannot_build_is_still_refused_in_words(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["StrangeModel"], **config}))
    (tmp_path / "code.py").write_text("raise SystemExit('the code of a model folder was run')")
    with pytest.raises(SpecError, match=r"'StrangeModel'(?s:.*)transformers cannot build it"):
        family_of("StrangeModel", None, tmp_path)


def test_a_family_may_be_named_for_an_architecture_that_is_not_known():
    assert family_of("StrangeModel", "Gemma2ForCausalLM") is FAMILIES["Gemma2ForCausalLM"]
    with pytest.raises(SpecError, match=r"family: cannot use 'Gemma9'.*Gemma2ForCausalLM"):
        family_of("LlamaForCausalLM", "Gemma9")


def test_neurons_of_experts_are_refused_with_the_reason():
    family = family_of("MixtralForCausalLM")
    check_kind(family, Site.parse("mlp_out.3"))
    with pytest.raises(SpecError, match=r"mlp_neurons\.3.*Each expert"):
        check_kind(family, Site.parse("mlp_neurons.3"))


def test_neurons_are_refused_under_tensor_parallelism():
    check_tensor_parallel(["resid_post.1", "mlp_out.1", "attn_out.1"], 4)
    check_tensor_parallel(["mlp_neurons.1"], 1)
    with pytest.raises(SpecError, match=r"mlp_neurons\.1.*tensor_parallel"):
        check_tensor_parallel(["resid_post.1", "mlp_neurons.1"], 2)


def test_width_of_a_site():
    model = _identity(d_mlp=64)
    assert {kind: site_width(kind, model) for kind in SITE_KINDS} == {
        kind: 64 if kind == "mlp_neurons" else 16 for kind in SITE_KINDS
    }
    with pytest.raises(SpecError, match="intermediate_size"):
        site_width("mlp_neurons", _identity())


def test_neurons_that_are_quantised_within_the_activation_are_refused():
    tap = FAMILIES["LlamaForCausalLM"].taps["mlp_neurons"]
    with pytest.raises(SpecError, match="unquantised"):
        tap.read((object(),), None)


class InPlaceNorm(nn.Module):
    """As vLLM's fused kernel on CUDA: the sum goes into the residual's memory, the norm into the input's."""

    def forward(self, x_ND, residual_ND=None):
        if residual_ND is None:
            return _normed(x_ND)
        residual_ND += x_ND
        x_ND.copy_(_normed(residual_ND))
        return x_ND, residual_ND


def _normed(x_ND):
    return x_ND / x_ND.norm(dim=-1, keepdim=True)


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.up_proj, self.down_proj = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x_ND):
        return self.down_proj(torch.relu(self.up_proj(x_ND)))


class Layer(nn.Module):
    """The forward of vLLM's Llama layer, and with `sandwich` of its Gemma 2 and 3 layers."""

    def __init__(self, sandwich):
        super().__init__()
        self.sandwich = sandwich
        self.self_attn, self.mlp = nn.Linear(WIDTH, WIDTH), Mlp()
        self.input_layernorm, self.post_attention_layernorm = InPlaceNorm(), InPlaceNorm()
        if sandwich:
            self.pre_feedforward_layernorm, self.post_feedforward_layernorm = InPlaceNorm(), InPlaceNorm()

    def forward(self, positions, hidden_ND, residual_ND):
        if residual_ND is None:
            residual_ND = hidden_ND
            hidden_ND = self.input_layernorm(hidden_ND)
        else:
            hidden_ND, residual_ND = self.input_layernorm(hidden_ND, residual_ND)
        hidden_ND = self.self_attn(hidden_ND)
        if self.sandwich:
            hidden_ND = self.post_attention_layernorm(hidden_ND)
            hidden_ND, residual_ND = self.pre_feedforward_layernorm(hidden_ND, residual_ND)
            return self.post_feedforward_layernorm(self.mlp(hidden_ND)), residual_ND
        hidden_ND, residual_ND = self.post_attention_layernorm(hidden_ND, residual_ND)
        return self.mlp(hidden_ND), residual_ND


def _expected(layer, stream_ND):
    """The same layer without fusion: every value is a tensor of its own."""
    second_norm = _normed if layer.sandwich else lambda x_ND: x_ND
    attn_out = second_norm(layer.self_attn(_normed(stream_ND)))
    resid_mid = stream_ND + attn_out
    mlp_in = _normed(resid_mid)
    mlp_out = second_norm(layer.mlp(mlp_in))
    return {
        "resid_pre": stream_ND,
        "attn_out": attn_out,
        "resid_mid": resid_mid,
        "mlp_in": mlp_in,
        "mlp_neurons": torch.relu(layer.mlp.up_proj(mlp_in)),
        "mlp_out": mlp_out,
        "resid_post": resid_mid + mlp_out,
    }


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Gemma2ForCausalLM"])
@torch.inference_mode()
def test_what_is_read_outlives_kernels_that_work_in_place(architecture):
    torch.manual_seed(0)
    layers = [Layer(sandwich=architecture == "Gemma2ForCausalLM") for _ in range(3)]
    kept: dict[str, torch.Tensor] = {}

    def keeper(site, tap):
        return lambda _, arguments, output: kept.update({site: tap.read(arguments, output)})

    for index, layer in enumerate(layers):
        for kind, tap in FAMILIES[architecture].taps.items():
            layer.get_submodule(tap.module).register_forward_hook(keeper(f"{kind}.{index}", tap))
    embedded_ND = torch.randn(5, WIDTH)
    hidden_ND, residual_ND = embedded_ND.clone(), None
    for layer in layers:
        hidden_ND, residual_ND = layer(None, hidden_ND, residual_ND)
    found, kept = kept, {}
    stream_ND = embedded_ND
    for index, layer in enumerate(layers):
        expected = _expected(layer, stream_ND)
        for kind, x_ND in expected.items():
            torch.testing.assert_close(found[f"{kind}.{index}"], x_ND, msg=f"{kind}.{index}")
        stream_ND = expected["resid_post"]
