"""Taps on small modules: hooks keep and let go, auxiliary outputs go to their sites, the layers above are left out."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from thresher.contracts.errors import SpecError
from thresher.contracts.sites import Site
from thresher.harvest.families import FAMILIES
from thresher.harvest.taps import (
    AuxiliaryTaps,
    HookTaps,
    leave_out_logits,
    sites_of_stage,
    stop_after,
)

LLAMA = FAMILIES["LlamaForCausalLM"]
NUM_LAYERS = 4


class Norm(nn.Module):
    """As vLLM's fused add-and-norm: writes the sum into the residual it was given."""

    def forward(self, hidden, residual):
        residual += hidden
        return residual * 0.5, residual


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_layernorm = Norm()
        self.post_attention_layernorm = Norm()
        self.self_attn = nn.Linear(3, 3, bias=False)
        self.mlp = nn.Linear(3, 3, bias=False)

    def forward(self, positions, hidden, residual):
        hidden, residual = self.input_layernorm(hidden, residual)
        hidden, residual = self.post_attention_layernorm(self.self_attn(hidden), residual)
        return self.mlp(hidden), residual


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(NUM_LAYERS))
        self.start_layer, self.end_layer = 0, NUM_LAYERS


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.model = Stack()

    def forward(self, x):
        hidden, residual = x.clone(), torch.zeros_like(x)
        for layer in self.model.layers[self.model.start_layer : self.model.end_layer]:
            hidden, residual = layer(None, hidden, residual)
        return hidden + residual


def _sites(*names: str) -> list[Site]:
    return [Site.parse(name) for name in names]


@torch.inference_mode()
def test_hooks_keep_what_the_model_writes_over():
    model, x = Model(), torch.randn(5, 3)
    taps = HookTaps(model, LLAMA, _sites("resid_pre.2", "resid_mid.1", "resid_post.1", "resid_post.3"))
    model(x)
    taps.arm()
    output = model(x)
    rows = taps.take(None)
    torch.testing.assert_close(rows["resid_post.3"], output)
    torch.testing.assert_close(rows["resid_pre.2"], rows["resid_post.1"])
    assert not torch.allclose(rows["resid_mid.1"], rows["resid_post.1"])
    model(x)
    assert taps.take(None) == {}, "unarmed steps are not kept"


def test_a_family_whose_modules_the_model_has_not_is_refused():
    with pytest.raises(SpecError, match=r"no pre_feedforward_layernorm.*not built like"):
        HookTaps(Model(), FAMILIES["Gemma2ForCausalLM"], _sites("resid_mid.1"))


def test_layers_above_the_highest_site_are_left_out():
    model = Model()
    stop_after(model, LLAMA, _sites("resid_post.1", "resid_pre.0"))
    assert model.model.end_layer == 2
    stop_after(model, LLAMA, _sites("resid_post.3"))
    assert model.model.end_layer == 2, "a stage that ends earlier stays as it is"


def test_a_pipeline_stage_has_the_sites_of_its_layers():
    model = Model()
    wanted = _sites("resid_post.0", "mlp_out.2", "resid_post.3")
    model.model.start_layer, model.model.end_layer = 0, 2
    assert sites_of_stage(model, LLAMA, wanted) == wanted[:1]
    model.model.start_layer, model.model.end_layer = 2, 4
    assert sites_of_stage(model, LLAMA, wanted) == wanted[1:]


class Eagle3Model:
    def set_aux_hidden_state_layers(self, layers):
        self.aux_layers = layers


def test_auxiliary_states_go_to_their_sites_and_are_copies():
    model, runner = Eagle3Model(), SimpleNamespace(use_aux_hidden_state_outputs=False)
    taps = AuxiliaryTaps(runner, model, _sites("resid_post.7", "resid_post.3"))
    assert model.aux_layers == (4, 8), "state k is the stream after k layers"
    assert runner.use_aux_hidden_state_outputs
    states = [torch.full((2, 3), 4.0), torch.full((2, 3), 8.0)]
    runner.execute_model_state = SimpleNamespace(aux_hidden_states=states)
    taps.arm()
    rows = taps.take(runner)
    states[0].zero_()
    assert {site: float(x[0, 0]) for site, x in rows.items()} == {"resid_post.3": 4.0, "resid_post.7": 8.0}


def test_no_logits_are_computed():
    model = SimpleNamespace(compute_logits=None)
    leave_out_logits(model, vocabulary_size=11)
    logits = model.compute_logits(torch.randn(3, 4, dtype=torch.bfloat16))
    assert logits.shape == (3, 11)
    assert not logits.any()
