"""The reference reads what adds up to the residual stream, and what transformers itself gives out."""

import numpy as np
import pytest
import torch

from thresher.contracts.errors import SpecError
from thresher.contracts.sites import SITE_KINDS
from thresher.harvest import reference_forward
from thresher.harvest.reference_forward import reference_rows
from thresher.latents.subject import places
from thresher.latents.subject.places import PLACES

SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "initializer_range": 0.2,
    "pad_token_id": None,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
MODELS = {
    "LlamaForCausalLM": ("LlamaConfig", SMALL),
    "Gemma2ForCausalLM": ("Gemma2Config", SMALL),
    "MixtralForCausalLM": ("MixtralConfig", SMALL | {"num_local_experts": 3}),
    "GPT2LMHeadModel": (
        "GPT2Config",
        {
            "vocab_size": 50,
            "n_embd": 16,
            "n_layer": 3,
            "n_head": 2,
            "initializer_range": 0.2,
            "bos_token_id": 0,
            "eos_token_id": 0,
        },
    ),
}


@pytest.fixture
def small_model(tmp_path):
    def make(architecture):
        import transformers

        config_class, shape = MODELS[architecture]
        torch.manual_seed(0)
        model = getattr(transformers, architecture)(getattr(transformers, config_class)(**shape)).eval()
        model.save_pretrained(tmp_path)
        return model, tmp_path

    return make


@pytest.fixture
def token_ids():
    return np.random.default_rng(0).integers(0, 50, (5, 12))


@pytest.mark.parametrize("architecture", MODELS)
def test_blocks_add_up_to_the_stream(architecture, small_model, token_ids, monkeypatch):
    # Two sequences a batch: the last batch is not full.
    monkeypatch.setattr(reference_forward, "BATCH_TOKENS", 24)
    model, folder = small_model(architecture)
    kinds = PLACES[architecture].by_kind
    sites = [f"{kind}.{layer}" for kind in kinds for layer in (0, 1)]
    rows = reference_rows(folder, token_ids, sites, torch.float32)
    with torch.inference_mode():
        states = model(torch.from_numpy(token_ids), output_hidden_states=True).hidden_states
    for layer in (0, 1):
        at = {kind: rows[f"{kind}.{layer}"] for kind in kinds}
        assert all(x.dtype == np.float32 and x.shape[:2] == (5, 12) for x in at.values())
        np.testing.assert_allclose(at["resid_pre"], states[layer], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(at["resid_post"], states[layer + 1], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(at["resid_pre"] + at["attn_out"], at["resid_mid"], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(at["resid_mid"] + at["mlp_out"], at["resid_post"], rtol=1e-4, atol=1e-4)
        scale = np.linalg.norm(at["mlp_in"], axis=-1) / np.sqrt(16)
        np.testing.assert_allclose(scale, 1, atol=2e-2, err_msg="mlp_in is normalised")


def test_neurons_are_what_the_down_projection_multiplies(small_model, token_ids):
    model, folder = small_model("LlamaForCausalLM")
    rows = reference_rows(folder, token_ids, ["mlp_neurons.1", "mlp_out.1"], torch.float32)
    weight_DM = model.model.layers[1].mlp.down_proj.weight.detach().numpy()
    assert rows["mlp_neurons.1"].shape == (5, 12, 24)
    np.testing.assert_allclose(rows["mlp_neurons.1"] @ weight_DM.T, rows["mlp_out.1"], atol=1e-6)


@pytest.mark.parametrize(
    ("architecture", "site", "words"),
    [
        ("MixtralForCausalLM", "mlp_neurons.1", "sites: cannot use 'mlp_neurons.1'"),
        ("LlamaForCausalLM", "resid_post.3", "layers 0 to 2"),
        ("LlamaForCausalLM", "resid_end.1", SITE_KINDS[0]),
    ],
)
def test_a_site_that_is_not_there_is_refused(architecture, site, words, small_model, token_ids):
    _, folder = small_model(architecture)
    with pytest.raises(SpecError, match=words):
        reference_rows(folder, token_ids, [site], torch.float32)


def test_an_unknown_architecture_is_read_as_the_family_given(small_model, token_ids, monkeypatch):
    _, folder = small_model("LlamaForCausalLM")
    known = reference_rows(folder, token_ids, ["mlp_out.1"], torch.float32)["mlp_out.1"]
    monkeypatch.setattr(places, "PLACES", {key: PLACES[key] for key in PLACES if key != "LlamaForCausalLM"})
    with pytest.raises(SpecError, match="LlamaForCausalLM"):
        reference_rows(folder, token_ids, ["mlp_out.1"], torch.float32)
    read_as = reference_rows(folder, token_ids, ["mlp_out.1"], torch.float32, "Qwen2ForCausalLM")
    assert np.array_equal(read_as["mlp_out.1"], known)
