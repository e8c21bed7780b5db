"""What the subject answers, beside plain transformers: activations by a dense encoder, steering by a plain hook.

Shapes: L tokens, D width of the site, F latents.
"""

import asyncio
from pathlib import Path

import pytest
import torch
from torch import nn

from fixtures.exemplars import CORPUS_ID, NAME, VERSION
from fixtures.scripted_subject import WIDTH, set_site
from fixtures.splices import lossy, publish_encoder, target_of
from fixtures.targets import transcoder_target
from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import CorpusManifest, FeaturesManifest, SplitRange
from thresher.labeling.endpoints.model_client import ModelClient
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.subject.opening import SubjectRoom
from thresher.labeling.subject.requests import (
    MAX_TEXT_TOKENS,
    SteeringTerms,
    firing_request,
    steering_request,
)
from thresher.latents.encoder import SparseEncoder
from thresher.storage import ObjectStore
from thresher.storage.artifacts import publish_manifest, read_record

TEXTS = ["the ship of", "near a small port, and 1990 waves", "<|im_end|> was by his", "old"]
SEPARATOR = 7


@pytest.fixture(scope="module")
def network(scripted_subject: Path) -> nn.Module:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(scripted_subject, dtype=torch.float32).eval()


class Asked:
    """In place of an exchange: sends at once."""

    def __init__(self, client: ModelClient) -> None:
        self.client, self.endpoint = client, client.spec

    def ask(self, request) -> dict:
        answer = asyncio.run(self.client.send(request))
        assert answer.num_tokens <= request.max_total_tokens
        return answer.body


def room(store: ObjectStore) -> SubjectRoom:
    key = paths.manifest(paths.features(NAME, VERSION, CORPUS_ID))
    return SubjectRoom(store, read_record(store, key, FeaturesManifest), list(range(256)), Asked)


def publish_lossy(
    store: ObjectStore, site: str, kind: str = "autoencoder", width: int = WIDTH
) -> SparseEncoder:
    encoder = lossy(width, centres_input=True)
    publish_encoder(store, NAME, encoder, target_of(kind, [(site, width, "h", 1.0)]))
    set_site(store, site)
    return encoder


def publish_corpus(store: ObjectStore, bos: int | None, separator: int | None) -> None:
    manifest = CorpusManifest(
        corpus_id=CORPUS_ID,
        spec={},
        tokenizer_sha256="",
        sequence_length=8,
        bos_token_id=bos,
        separator_token_id=separator,
        special_token_ids=[],
        roles=[],
        num_documents=1,
        num_sequences=1,
        num_tokens=8,
        splits=[SplitRange(split="fit", start=0, stop=1)],
        files=[],
    )
    publish_manifest(store, paths.corpus(CORPUS_ID), manifest)


def rows(network: nn.Module, site: str, ids: list[int]) -> torch.Tensor:
    """x_LD of one sequence by itself, in float64."""
    kept: list[torch.Tensor] = []
    kind, layer = site.split(".")
    block = network.model.layers[int(layer)]
    module = {"resid_post": block, "mlp_in": block.post_attention_layernorm, "mlp_neurons": None}[kind]
    if module is None:
        handle = block.mlp.down_proj.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    else:
        handle = module.register_forward_hook(
            lambda _, __, out: kept.append(out[0] if isinstance(out, tuple) else out)
        )
    with torch.no_grad():
        network(torch.tensor([ids]))
    handle.remove()
    return kept[0][0].double()


def dense_codes(encoder: SparseEncoder, x_LD: torch.Tensor, scale: float) -> torch.Tensor:
    """codes_LF, in float64."""
    weights = {name: tensor.double() for name, tensor in encoder.tensors().items()}
    x_LD = scale * x_LD - (weights["b_dec_E"] if encoder.centres_input else 0)
    z_LF = x_LD @ weights["W_enc_DF"] + weights["b_enc_F"]
    if encoder.k is None:
        return torch.where(z_LF > weights["threshold_F"].clamp(min=0), z_LF, 0.0)
    top = z_LF.topk(encoder.k, dim=1)
    return torch.zeros_like(z_LF).scatter(1, top.indices, top.values.clamp(min=0))


@pytest.mark.parametrize("first", [None, "bos", "separator"])
@pytest.mark.parametrize(
    ("target", "site", "k", "centres_input", "scale"),
    [
        ("autoencoder", "resid_post.1", None, True, 1.0),
        ("autoencoder", "mlp_neurons.1", 3, False, 1.0),
        ("layer_group", "resid_post.0", None, True, 0.5),
        ("transcoder", "mlp_in.1", None, False, 1.0),
    ],
)
def test_activations_are_those_of_a_dense_encoder_on_plain_transformers(
    planted_store, scripted_subject, network, target, site, k, centres_input, scale, first
) -> None:
    width = 64 if site.startswith("mlp_neurons") else WIDTH
    encoder = lossy(width, centres_input=centres_input, k=k)
    of = (
        transcoder_target(site, "mlp_out.1", "h", width, width)
        if target == "transcoder"
        else (target_of(target, [(site, width, "h", scale)]))
    )
    publish_encoder(planted_store, NAME, encoder, of)
    set_site(planted_store, site, spec={"min_position": 2})
    if first is not None:
        publish_corpus(planted_store, 5 if first == "bos" else None, SEPARATOR)
    opened = room(planted_store).for_encoding("generation", str(scripted_subject))

    tokenizer, before = (
        PromptTokenizer(str(scripted_subject)),
        {None: [], "bos": [5], "separator": [7]}[first],
    )
    ids = [[*before, *tokenizer.encode(text)] for text in TEXTS]
    codes = [dense_codes(encoder, rows(network, site, item), scale)[2:] for item in ids]
    largest_F = torch.cat(codes).amax(dim=0)
    for feature in (*largest_F.topk(2).indices.tolist(), int(largest_F.argmin())):
        request = firing_request(opened.exchange.endpoint, "generation", opened.ground, feature, TEXTS)
        found = opened.exchange.ask(request)["largest_activations"]
        assert found == [
            pytest.approx(float(codes_LF[:, feature].max()), abs=1e-4) if len(codes_LF) else None
            for codes_LF in codes
        ]
    assert largest_F.max() > 0


def test_what_is_behind_the_longest_text_is_not_read(planted_store, scripted_subject) -> None:
    publish_lossy(planted_store, "resid_post.1")
    opened = room(planted_store).for_encoding("generation", str(scripted_subject))
    texts = [" the of" * MAX_TEXT_TOKENS, " the of" * (2 * MAX_TEXT_TOKENS)]
    answer = opened.exchange.ask(
        firing_request(opened.exchange.endpoint, "generation", opened.ground, 0, texts)
    )
    first, second = answer["largest_activations"]
    assert first == second
    assert answer["usage"]["prompt_tokens"] == 2 * MAX_TEXT_TOKENS


@pytest.mark.parametrize("has_first", [True, False])
def test_steering_is_adding_the_decoder_vector_by_a_plain_hook(
    planted_store, scripted_subject, network, has_first
) -> None:
    encoder = publish_lossy(planted_store, "resid_post.0")
    if has_first:
        publish_corpus(planted_store, None, SEPARATOR)
    opened = room(planted_store).for_steering("steering", str(scripted_subject), [201])
    prompt, tokenizer = "near the old port", PromptTokenizer(str(scripted_subject))
    ids = [SEPARATOR] * has_first + tokenizer.encode(prompt)
    length = float(rows(network, "resid_post.0", ids)[1:].norm(dim=1).mean())
    texts = set()
    for feature, strength in ((5, 6.0), (201, 6.0), (5, 0.1)):
        vector_D = encoder.W_dec_FE[feature].double()
        added_D = (strength * length * vector_D / vector_D.norm()).float()
        due = greedy(network, ids, added_D, 6)
        request = steering_request(
            opened.exchange.endpoint, "steering", opened.ground, feature, SteeringTerms(strength, 6), prompt
        )
        answer = opened.exchange.ask(request)
        assert PromptTokenizer(str(scripted_subject))._tokenizer.decode(due) == answer["choices"][0]["text"]
        assert answer["usage"] == {"prompt_tokens": len(ids), "completion_tokens": 6}
        texts.add(answer["choices"][0]["text"])
    assert len(texts) == 3


def greedy(network: nn.Module, ids: list[int], added_D: torch.Tensor, count: int) -> list[int]:
    """The likeliest tokens that follow, each by a forward of all that is before it."""

    def add(_: nn.Module, __: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> object:
        steered = (output[0] if isinstance(output, tuple) else output).clone()
        steered[:, 1:] += added_D
        return (steered, *output[1:]) if isinstance(output, tuple) else steered

    handle, found = network.model.layers[0].register_forward_hook(add), list(ids)
    for _ in range(count):
        with torch.no_grad():
            found.append(int(network(torch.tensor([found])).logits[0, -1].argmax()))
    handle.remove()
    return found[len(ids) :]


def test_one_model_serves_all_that_ask_it(planted_store, scripted_subject) -> None:
    publish_lossy(planted_store, "resid_post.0")
    opened = room(planted_store)
    patched = opened.for_patching("explainer", str(scripted_subject), 1)
    assert opened.for_encoding("generation", str(scripted_subject)).exchange is patched
    assert opened.for_steering("steering", str(scripted_subject), [20]).exchange is patched


@pytest.mark.parametrize(
    ("kind", "site", "width", "field"),
    [
        ("crosscoder", "resid_post.0", WIDTH, "generation"),
        ("autoencoder", "resid_post.9", WIDTH, "generation.model"),
        ("autoencoder", "resid_post.0", 32, "generation.model"),
    ],
)
def test_a_dictionary_that_no_text_can_fire_is_refused(
    planted_store, scripted_subject, kind, site, width, field
) -> None:
    publish_lossy(planted_store, site, kind=kind, width=width)
    with pytest.raises(SpecError) as caught:
        room(planted_store).for_encoding("generation", str(scripted_subject))
    assert caught.value.field == field
