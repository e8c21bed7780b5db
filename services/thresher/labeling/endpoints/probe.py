"""Ask the endpoint what it can do, before anything is spent on it."""

from typing import Any

from thresher.contracts.errors import SpecError
from thresher.labeling.endpoints.client import EndpointClient
from thresher.labeling.endpoints.completions import (
    first_token_request,
    prompt_logprobs_request,
    read_first_token_logprobs,
)
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import RequestFailedError

PROBE_DIGIT = "7"


async def check_model(client: EndpointClient) -> None:
    """The endpoint is there, takes the key and serves the model.

    Raises:
        EndpointError, SpecError: it is or does not; says what to mend.
    """
    served = await client.served_models()
    if client.spec.model not in served:
        raise SpecError(
            "endpoint.model", client.spec.model, allowed=sorted(served), mend="Name a model it serves."
        )


async def check_prompt_logprobs(
    client: EndpointClient, tokenizer: PromptTokenizer, num_logprobs: int
) -> None:
    """The endpoint returns as many prompt log-probabilities as asked, for tokens numbered as here.

    vLLM returns them for /v1/completions, at most `--max-logprobs` (20) a position; hosted services do not.

    Raises:
        SpecError: it does not, or its tokenizer is another.
    """
    prompt = tokenizer.start()
    tokenizer.add(prompt, [" one", "\t"])
    tokenizer.mark(prompt, PROBE_DIGIT)
    try:
        answer = await client.send(prompt_logprobs_request(client.spec, prompt, num_logprobs))
    except RequestFailedError as error:
        raise SpecError(
            "simulation.num_logprobs",
            num_logprobs,
            mend=f"{client.spec.base_url} gives no such prompt log-probabilities ({error}) Serve the model with vLLM "
            f"and --max-logprobs {num_logprobs} or more, lower it, or set simulation to null.",
        ) from error
    entry: dict[str, Any] = answer.choice["prompt_logprobs"][prompt.marks[0]] or {}
    actual = entry.get(str(prompt.ids[prompt.marks[0]]), {})
    if actual.get("decoded_token", PROBE_DIGIT).strip() != PROBE_DIGIT:
        raise SpecError(
            "tokenizer", actual["decoded_token"], mend="Give the tokenizer of the model that is served."
        )


async def check_logprobs(
    client: EndpointClient, tokenizer: PromptTokenizer, num_logprobs: int, section: str
) -> None:
    """The endpoint returns the log-probabilities of a completion's first token, which a section of the spec needs.

    Raises:
        SpecError: it does not.
    """
    prompt = tokenizer.start()
    tokenizer.add(prompt, ["Is water wet? Answer:"])
    field = f"{section}.num_logprobs"
    mend = f"{client.spec.base_url} gives no such log-probabilities: lower it, or set {section} to null."
    try:
        answer = await client.send(first_token_request(client.spec, prompt, num_logprobs, "probe"))
    except RequestFailedError as error:
        raise SpecError(field, num_logprobs, mend=f"{mend} {error}") from error
    if not read_first_token_logprobs(answer.choice):
        raise SpecError(field, num_logprobs, mend=mend)
