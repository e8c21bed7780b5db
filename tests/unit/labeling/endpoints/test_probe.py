"""What is found out about endpoints of several kinds, over real HTTP."""

import asyncio

import pytest

from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import Capabilities
from thresher.labeling.endpoints.client import EndpointClient
from thresher.labeling.endpoints.needs import Ability, Need
from thresher.labeling.endpoints.probe import check_context, check_model, probe
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec


@pytest.fixture
def found(scripted_llm, scripted_tokenizer):
    """Probes the scripted server for abilities."""

    def run(*needs: tuple[Ability, int], chats: bool = False) -> Capabilities:
        async def ask() -> Capabilities:
            client = EndpointClient(
                EndpointSpec(model="scripted", base_url=scripted_llm.base_url, max_retries=0)
            )
            try:
                card = await check_model(client)
                wanted = [Need(ability, "a.field", amount, "set a to null") for ability, amount in needs]
                tokenizer = PromptTokenizer(str(scripted_tokenizer))
                return await probe(client, card, tokenizer, wanted, chats=chats)
            finally:
                await client.close()

        return asyncio.run(ask())

    return run


def test_the_cap_on_log_probabilities_is_found_by_trying(scripted_llm, found) -> None:
    assert found(("logprobs", 5)).max_logprobs == 20
    scripted_llm.max_logprobs = 60
    assert found(("logprobs", 5)).max_logprobs == 50
    assert found(("prompt_logprobs", 55)).max_prompt_logprobs == 55


def test_nothing_is_tried_that_nobody_needs(scripted_llm, found) -> None:
    capabilities = found()
    assert scripted_llm.probes == scripted_llm.requests == []
    assert (capabilities.max_logprobs, capabilities.json_schema) == (None, None)
    assert not capabilities.ten_is_one_token
    assert capabilities.max_model_len == 4096


@pytest.mark.parametrize("ability", ["logprobs", "prompt_logprobs"])
def test_what_is_lacking_names_the_mend_and_what_there_is(scripted_llm, found, ability) -> None:
    scripted_llm.max_logprobs = 5
    with pytest.raises(SpecError, match=r"set a to null.*at most 5") as caught:
        found((ability, 20))
    assert (caught.value.field, caught.value.value) == ("a.field", 20)


def test_prompt_log_probabilities_that_are_left_out(scripted_llm, found) -> None:
    scripted_llm.ignore_prompt_logprobs = True
    with pytest.raises(SpecError, match="serve the model with vLLM"):
        found(("prompt_logprobs", 20))


def test_json_mode(scripted_llm, found) -> None:
    capabilities = found(("json_schema", 1), ("json_object", 1))
    assert capabilities.json_schema
    assert capabilities.json_object
    assert capabilities.reports_usage
    scripted_llm.json_mode = False
    with pytest.raises(SpecError, match="JSON schema"):
        found(("json_schema", 1))


def test_embeddings(scripted_llm, found) -> None:
    assert found(("embeddings", 1)).embeddings
    scripted_llm.embedding_mode = False
    with pytest.raises(SpecError, match=r"gives no such embeddings: .*--runner pooling.*set a to null"):
        found(("embeddings", 1))
    assert scripted_llm.requests == []


def test_the_context_is_read_from_an_error_where_the_list_says_nothing(scripted_llm, found) -> None:
    scripted_llm.max_model_len = None
    assert found(chats=True).max_model_len == 4096
    assert found(chats=False).max_model_len is None


def test_a_prompt_that_cannot_fit_is_refused_beforehand(found) -> None:
    capabilities = found()
    fits = ModelRequest("simulation", "scripted", "1", {}, 4096)
    too_long = ModelRequest("explain", "scripted", "1", {}, 4097)
    check_context("http://a", capabilities, [fits])
    with pytest.raises(SpecError, match="4096 tokens a request") as caught:
        check_context("http://a", capabilities, [fits, too_long])
    assert caught.value.field == "explainer"
