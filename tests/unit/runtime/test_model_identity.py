"""What a config says of a model's shape, in the names of either convention."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from thresher.contracts.errors import SpecError
from thresher.runtime.model_identity import identify_model

LLAMA = {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2, "hidden_size": 8}
GPT2 = {"architectures": ["GPT2LMHeadModel"], "n_layer": 2, "n_embd": 8}


@pytest.mark.parametrize(
    ("config", "neurons"),
    [
        (LLAMA, None),
        (LLAMA | {"intermediate_size": 24}, 24),
        (GPT2, 32),
        (GPT2 | {"n_inner": None}, 32),
        (GPT2 | {"n_inner": 20}, 20),
    ],
)
def test_shape_of_a_model(config, neurons, word_model):
    (word_model / "config.json").write_text(json.dumps(config))
    model = identify_model(str(word_model))
    assert (model.num_layers, model.d_model, model.d_mlp) == (2, 8, neurons)


def test_a_config_without_a_width_is_refused(word_model):
    (word_model / "config.json").write_text(
        json.dumps({key: value for key, value in LLAMA.items() if key != "hidden_size"})
    )
    with pytest.raises(SpecError, match="hidden_size, n_embd"):
        identify_model(str(word_model))


def test_two_runs_may_hash_one_model_at_a_time(word_model, tmp_path, monkeypatch):
    (word_model / "config.json").write_text(json.dumps(LLAMA))
    monkeypatch.setattr("thresher.runtime.model_identity.cache_folder", lambda: tmp_path / "cache")
    both_have_written, replace = Barrier(2, timeout=10), os.replace

    def replace_together(source, target):
        both_have_written.wait()
        replace(source, target)

    monkeypatch.setattr(Path, "replace", replace_together)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(identify_model, [str(word_model)] * 2)
    assert first == second
    assert not list(tmp_path.rglob("*.partial"))
