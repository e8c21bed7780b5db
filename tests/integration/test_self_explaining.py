"""A real model decodes vectors that are put in place of a word."""

import asyncio
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from fixtures.exemplars import CORPUS_ID, NAME, NUM_LATENTS, VERSION
from fixtures.label_runs import read_rows
from fixtures.subject_dictionary import publish_vectors
from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.labeling.explainers.self_explaining import ANSWER, QUESTION
from thresher.labeling.run import label
from thresher.labeling.subject.local_subject import LocalSubject
from thresher.labeling.subject.patching import WORD, Patching, patched_site
from thresher.labeling.subject.requests import Patch, patch_request
from thresher.runtime.model_identity import identify_model

pytestmark = pytest.mark.real
MAX_TOKENS = 12


@pytest.fixture(scope="module")
def model(bundled_model: Path) -> nn.Module:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(bundled_model, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def tokenizer(bundled_model: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(bundled_model)


def prompt_ids(tokenizer, word: str) -> list[int]:
    turn = [{"role": "user", "content": QUESTION.fill(word=word)}]
    text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    return tokenizer(text + ANSWER.fill(word=word), add_special_tokens=False)["input_ids"]


async def decoded(subject: LocalSubject, patch: Patch) -> str:
    request = patch_request(subject.spec, (QUESTION.text, ANSWER.text), patch, MAX_TOKENS)
    return (await subject.send(request)).choice["text"]


@pytest.mark.parametrize("word", ["ship", "water", "cat"])
def test_a_words_own_embedding_in_its_place_is_the_word(bundled_model, model, tokenizer, word) -> None:
    """Patched at layer 0 with a word's embedding at its own length, the model answers as if asked about the word."""
    ids, x_ids = prompt_ids(tokenizer, word), prompt_ids(tokenizer, WORD)
    assert len(ids) == len(x_ids), "the word is one token"
    places = [place for place, (token, other) in enumerate(zip(ids, x_ids, strict=True)) if token != other]
    assert len(places) == 2
    embedding_LD = model.get_input_embeddings()(torch.tensor(x_ids)).detach()
    stays_L = torch.ones(len(x_ids), dtype=torch.bool)
    stays_L[[0, *places]] = False
    vector_D = model.get_input_embeddings()(torch.tensor(ids[places[0]])).detach()
    scale = float(vector_D.norm() / embedding_LD[stays_L].norm(dim=-1).mean())

    subject = LocalSubject(bundled_model, identify_model(str(bundled_model)))
    subject.add("patch", Patching(lambda _: 3 * vector_D), [patched_site(0)])
    found = asyncio.run(decoded(subject, Patch("d", 0, 0, scale)))
    with torch.inference_mode():
        due = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=MAX_TOKENS,
            do_sample=False,
            pad_token_id=tokenizer.eos_token_id,
        )[0, len(ids) :]
    assert found == tokenizer.decode(due, skip_special_tokens=True)
    assert found != asyncio.run(decoded(subject, Patch("d", 0, 0, 50 * scale)))


def test_a_whole_run_stores_what_the_subject_said_and_asks_it_once(
    planted_store, label_spec, bundled_model, model, tokenizer, monkeypatch
) -> None:
    words = {3: "number", 5: "France", 8: "ship", 9: "red"}
    embeddings_VD = model.get_input_embeddings().weight.detach()
    W_dec_FE = torch.randn(NUM_LATENTS, embeddings_VD.shape[1], generator=torch.Generator().manual_seed(0))
    for latent, word in words.items():
        (token,) = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
        W_dec_FE[latent] = embeddings_VD[token]
    publish_vectors(planted_store, W_dec_FE)
    explainer = {"method": "self_explaining", "model": str(bundled_model), "scales": [0.5, 1.0], "layer": 0}
    spec = label_spec(explainer=explainer, features={"selection": [3, 8]}, simulation=None)
    manifest = label(spec)
    rows = read_rows(planted_store, manifest.labels)
    assert {row["method"] for row in rows} == {"self_explaining"}
    revision = identify_model(str(bundled_model)).weights_sha256
    assert {row["explainer_revision"] for row in rows} == {revision}
    assert {json.loads(row["decoding"])["scale"] for row in rows} <= {0.5, 1.0}
    stored = [row for row in read_rows(planted_store, manifest.responses) if row["purpose"] == "explain"]
    assert len(stored) == 4
    assert {row["model"] for row in stored} == {bundled_model.name}

    planted_store.delete(paths.manifest(paths.label_run(NAME, VERSION, manifest.run_id)))

    def never(*_: object) -> None:
        raise AssertionError("the subject is asked again")

    monkeypatch.setattr(LocalSubject, "_answer", never)
    assert label(spec).labels == manifest.labels


@pytest.mark.parametrize(
    ("changes", "site", "width", "field"),
    [
        ({"layer": 30}, "resid_post.3", 576, "explainer.layer"),
        ({}, "mlp_in.3", 576, "explainer"),
        ({}, "resid_post.3", 64, "explainer.model"),
        ({"model": "/nowhere"}, "resid_post.3", 576, "explainer.model"),
    ],
)
def test_what_cannot_be_patched_is_found_before_anything_is_asked(
    planted_store, scripted_llm, label_spec, bundled_model, changes, site, width, field
) -> None:
    publish_vectors(planted_store, torch.ones(NUM_LATENTS, width), site)
    explainer = {"method": "self_explaining", "model": str(bundled_model)} | changes
    with pytest.raises(SpecError) as caught:
        label(label_spec(explainer=explainer, corpus=CORPUS_ID))
    assert caught.value.field == field
    assert scripted_llm.requests == []
