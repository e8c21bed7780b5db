"""Output tokens against the whole product of decoder and unembedding, and against a forward pass with a hook.

Shape suffixes: F latents, E width, N contexts, C tokens, V vocabulary.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from fixtures.codes import plant, write_planted_dictionary, write_sparse_harvest
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import DictionaryManifest, HarvestManifest
from thresher.contracts.schemas import OUTPUT_TOKENS
from thresher.features import output_tokens
from thresher.features.output_tokens import OutputSide
from thresher.features.spec import OutputOptions, SteeringOptions
from thresher.features.token_strings import TokenStrings
from thresher.latents.subject.unembedding import load_unembedding
from thresher.runtime.model_identity import identify_model
from thresher.storage import open_store

NUM_LATENTS, WIDTH, LENGTH = 7, 128, 6
W_DEC_FE = torch.randn(NUM_LATENTS, WIDTH, generator=torch.Generator().manual_seed(1))
CONTEXTS_NC = np.random.default_rng(2).integers(0, 1000, (3, LENGTH)).astype(np.int32)
LARGEST_F = np.array([2.0, 0.0, 30.0, 1.0, 1.0, 1.0, 1.0], np.float32)


@pytest.fixture
def harvest(tiny_llama: Path, tmp_path: Path) -> HarvestManifest:
    """Of a dictionary on resid_post.1 of the tiny model."""
    planted = plant(np.zeros((4, NUM_LATENTS), np.float32), np.zeros(4, np.int32), ["d"] * 4, 4, [])
    made = write_sparse_harvest(open_store(tmp_path.as_uri()), planted)
    return made.model_copy(update={"model": identify_model(str(tiny_llama))})


@pytest.fixture
def dictionary(tmp_path: Path) -> DictionaryManifest:
    return write_planted_dictionary(open_store(tmp_path.as_uri()), W_DEC_FE.numpy())


def rows_of(
    options: OutputOptions, harvest: HarvestManifest, dictionary: DictionaryManifest, folder: Path
) -> list[dict[str, Any]]:
    side = OutputSide(options, str(folder), harvest, dictionary)
    strings = TokenStrings(Tokenizer.from_file(str(folder / "tokenizer.json")))
    table = side.table(W_DEC_FE, LARGEST_F, CONTEXTS_NC, strings)
    assert table.schema.equals(OUTPUT_TOKENS)
    return table.to_pylist()


def test_promoted_and_suppressed_equal_the_whole_product(
    harvest: HarvestManifest,
    dictionary: DictionaryManifest,
    tiny_llama: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(output_tokens, "BLOCK_LATENTS", 3)
    rows = rows_of(OutputOptions(num_tokens=4), harvest, dictionary, tiny_llama)
    logits_FV = load_unembedding(str(tiny_llama)).logits(W_DEC_FE).numpy()
    expected = [
        (feature, kind, rank, int(token))
        for feature in range(NUM_LATENTS)
        for kind, sign in (("promoted", -1), ("suppressed", 1))
        for rank, token in enumerate(np.argsort(sign * logits_FV[feature], kind="stable")[:4])
    ]
    assert [(row["feature"], row["kind"], row["rank"], row["token_id"]) for row in rows] == expected
    values = [logits_FV[row["feature"], row["token_id"]] for row in rows]
    assert [row["value"] for row in rows] == pytest.approx(values, rel=1e-5)
    tokenizer = Tokenizer.from_file(str(tiny_llama / "tokenizer.json"))
    assert rows[0]["token"] == tokenizer.decode([rows[0]["token_id"]])


def test_token_changes_equal_a_forward_pass_with_a_hook(
    harvest: HarvestManifest, dictionary: DictionaryManifest, tiny_llama: Path
) -> None:
    """Of the latents asked for, those that fire; averaged over the first two contexts."""
    from transformers import AutoModelForCausalLM

    steering = SteeringOptions(features=[1, 2, 5], num_contexts=2, strength=0.5)
    options = OutputOptions(num_tokens=3, steering=steering)
    rows = rows_of(options, harvest, dictionary, tiny_llama)
    steered = [row for row in rows if row["kind"].startswith("steered")]
    assert sorted({row["feature"] for row in steered}) == [2, 5]
    model = AutoModelForCausalLM.from_pretrained(
        tiny_llama, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    token_ids_NC = torch.from_numpy(CONTEXTS_NC[:2].astype(np.int64))

    def log_probabilities(added_E: torch.Tensor) -> torch.Tensor:
        def add(_module: Any, _arguments: Any, rows: torch.Tensor) -> torch.Tensor:
            return torch.cat([rows[:, :1], rows[:, 1:] + added_E], dim=1)

        handle = model.model.layers[1].register_forward_hook(add)
        with torch.inference_mode():
            found = model(token_ids_NC).logits[:, -1].log_softmax(dim=-1)
        handle.remove()
        return found

    clean = log_probabilities(torch.zeros(WIDTH))
    for feature in (2, 5):
        added_E = W_DEC_FE[feature] * float(LARGEST_F[feature]) * 0.5
        change_V = (log_probabilities(added_E) - clean).mean(dim=0).numpy()
        for kind, sign in (("steered_up", -1), ("steered_down", 1)):
            found = [row for row in steered if (row["feature"], row["kind"]) == (feature, kind)]
            expected = np.argsort(sign * change_V, kind="stable")[:3]
            assert [row["token_id"] for row in found] == expected.tolist()
            assert [row["value"] for row in found] == pytest.approx(change_V[expected].tolist(), rel=1e-3)


def test_faults_show_when_it_is_opened(
    harvest: HarvestManifest, dictionary: DictionaryManifest, tiny_llama: Path
) -> None:
    with pytest.raises(SpecError, match="output to null"):
        OutputSide(OutputOptions(), None, harvest, dictionary)
    other = harvest.model_copy(
        update={"model": harvest.model.model_copy(update={"weights_sha256": "0" * 64})}
    )
    with pytest.raises(SpecError, match="weights"):
        OutputSide(OutputOptions(), str(tiny_llama), other, dictionary)
