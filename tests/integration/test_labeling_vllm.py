"""Labelling against vLLM's own server."""

import asyncio
import json
import math

import numpy as np
import pytest

from fixtures.exemplars import CORPUS_ID, NAME, RULES, VERSION
from fixtures.label_runs import read_rows
from thresher.contracts.errors import SpecError
from thresher.labeling.endpoints.client import EndpointClient
from thresher.labeling.endpoints.completions import prompt_logprobs_request, read_prompt_logprobs
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.run import label
from thresher.labeling.spec import LabelSpec

pytestmark = pytest.mark.real


@pytest.fixture
def real_spec(planted_store, llm_server, bundled_model, monkeypatch) -> LabelSpec:
    for name, value in llm_server.environment.items():
        monkeypatch.setenv(name, value)
    return LabelSpec.parse(
        {
            "root": planted_store.url,
            "dictionary": f"{NAME}@{VERSION}",
            "corpus": CORPUS_ID,
            "tokenizer": str(bundled_model),
            "endpoint": {"model": llm_server.served_name},
            "features": {"selection": sorted(RULES)},
            "simulation": {"num_top": 2, "num_quantile": 1, "num_negative": 2},
            "detection": {"num_active": 3, "num_inactive": 3},
        }
    )


def test_a_whole_run(planted_store, real_spec) -> None:
    manifest = label(real_spec)
    assert sum(manifest.states.values()) == len(RULES)
    scores = read_rows(planted_store, manifest.scores)
    num_labelled = manifest.states["ok"]
    assert num_labelled > 0
    kinds = {
        "simulation",
        "simulation_r2",
        "simulation_abs_dev",
        "detection",
        "detection_auroc",
        "detection_hard",
    }
    assert {row["score_type"] for row in scores} == kinds
    assert len(scores) == num_labelled * len(kinds) * (2 if num_labelled > 1 else 1)
    simulated = [row for row in scores if row["score_type"] == "simulation"]
    for row in simulated:
        assert row["n"] > row["n_unparsed"]  # digits were where they are looked for
    assert manifest.simulator_digit_mass is not None
    assert manifest.simulator_digit_mass > 0.05
    assert label(real_spec) == manifest


def test_every_scorer_reads_most_of_its_answers(planted_store, real_spec) -> None:
    """But for the chat's lists, which a model this small cannot write: there, being unparsed is what is said."""
    sections = {
        "detection": {"num_active": 2, "num_inactive": 2, "num_hard": 2},
        "fuzzing": {"num_right": 2, "num_wrong": 2},
        "intruder": {"num_trials": 2},
        "intruder_blind": {"num_trials": 2},
        "simulation": {"num_top": 2, "num_quantile": 1, "num_negative": 1, "num_calibrate": 2},
        "simulation_tokens": {"num_top": 1, "num_quantile": 0, "num_negative": 1, "tokens_per_context": 6},
        "simulation_chat": {"num_top": 1, "num_quantile": 0, "num_negative": 1, "tokens_per_context": 6},
    }
    plain = {**real_spec.model_dump(mode="json"), **sections, "features": {"selection": [3, 8]}}
    manifest = label(LabelSpec.parse(plain))
    rows = read_rows(planted_store, manifest.scores)
    assert {row["score_type"] for row in rows} >= set(sections) | {
        "detection_hard",
        "simulation_calibrated_r2",
    }
    for row in rows:
        assert (row["value"] is None) == (row["state"] not in ("ok", "unqualified"))
        if not row["score_type"].startswith("simulation_chat"):
            assert row["n"] > row["n_unparsed"]


def test_entry_i_predicts_prompt_token_i(bundled_model, real_spec) -> None:
    """Against transformers: the log-probabilities at a position are given all tokens before it, and none after."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = PromptTokenizer(str(bundled_model))
    prompt = tokenizer.start()
    tokenizer.add(prompt, ["The", " capital", " of", " France", " is"])
    tokenizer.mark(prompt, " Paris")
    tokenizer.add(prompt, [" and"])

    async def ask() -> dict[int, float]:
        client = EndpointClient(real_spec.endpoint)
        answer = await client.send(prompt_logprobs_request(client.spec, prompt, 20))
        await client.close()
        return read_prompt_logprobs(answer.choice, prompt.marks[0])

    served = asyncio.run(ask())
    model = AutoModelForCausalLM.from_pretrained(bundled_model, dtype=torch.float32)
    with torch.inference_mode():
        logits_TV = model(torch.tensor([prompt.ids])).logits[0]
    expected_V = logits_TV[prompt.marks[0] - 1].log_softmax(-1).numpy()
    difference = [expected_V[token] - logprob for token, logprob in served.items()]
    assert len(served) >= 20
    assert np.abs(difference).max() < 0.3  # the server may compute in bfloat16
    assert math.exp(served[tokenizer.encode(" Paris")[0]]) == pytest.approx(
        math.exp(expected_V[tokenizer.encode(" Paris")[0]]), abs=0.05
    )


def test_the_cap_on_logprobs_is_probed(real_spec) -> None:
    assert real_spec.simulation is not None
    too_many = real_spec.simulation.model_copy(update={"num_logprobs": 5000})
    with pytest.raises(SpecError, match="--max-logprobs"):
        label(real_spec.model_copy(update={"simulation": too_many}))


def test_another_models_tokenizer_is_noticed(real_spec, scripted_tokenizer) -> None:
    with pytest.raises(SpecError) as caught:
        label(real_spec.model_copy(update={"tokenizer": str(scripted_tokenizer)}))
    assert caught.value.field == "tokenizer"


def test_an_unknown_model_lists_those_served(real_spec) -> None:
    endpoint: EndpointSpec = real_spec.endpoint.model_copy(update={"model": "gpt-unknown"})
    with pytest.raises(SpecError, match="smollm2"):
        label(real_spec.model_copy(update={"endpoint": endpoint}))


EXPLAINERS = {
    "activations": {"method": "activations"},
    "json_schema": {"method": "activations", "structured": "json_schema"},
    "reasoning": {
        "method": "activations",
        "reasoning": True,
        "reasoning_tokens": 64,
        "structured": "json_schema",
    },
    "contrastive": {"method": "contrastive", "num_firing": 3, "num_silent": 3},
    "vocab_proj": {"method": "vocab_proj"},
    "token_change": {"method": "token_change"},
    "keep": {"method": "ensemble"},
    "merge": {"method": "ensemble", "mode": "merge"},
    "best_of": {"method": "activations", "num_candidates": 3, "temperature": 1.0},
}


@pytest.mark.parametrize("name", EXPLAINERS)
def test_every_explainer_labels_with_the_real_model(planted_store, real_spec, name) -> None:
    changes = {
        "explainer": EXPLAINERS[name],
        "features": {"selection": [3, 8]},
        "simulation": None,
        "baseline": {"num_shuffles": 0},
    }
    manifest = label(LabelSpec.parse(real_spec.model_dump() | changes))
    rows = read_rows(planted_store, manifest.labels)
    print(name, [(row["state"], row["method"], row["num_candidates"], row["text"]) for row in rows])
    assert {row["state"] for row in rows} <= {"ok", "unparsable", "refused"}
    assert any(row["state"] == "ok" for row in rows)
    for row in rows:
        assert row["text"] is None or row["text"].isprintable()
    asked = [row for row in read_rows(planted_store, manifest.responses) if row["purpose"] == "explain"]
    assert len(asked) >= 2
    if name in ("json_schema", "reasoning"):
        # Held to the schema, even this model gives JSON, unless it is cut off.
        contents = [json.loads(row["response"])["choices"][0] for row in asked]
        whole = [item["message"]["content"] for item in contents if item["finish_reason"] == "stop"]
        assert all(isinstance(json.loads(content)["label"], str) for content in whole)
        assert whole
