"""Bytes out, bytes in: the openai library without its retries, and without trust in the size of an answer."""

import os
from typing import Any

import openai

from thresher.labeling.endpoints.requests import ModelRequest, RequestFailedError
from thresher.labeling.endpoints.spec import EndpointSpec, ReplicaSpec

MAX_ANSWER_BYTES = 64 << 20  # prompt log-probabilities of 32,000 tokens, 20 each, take about 50 MB
NO_KEY = "none"  # local servers ask for no key, but the client library insists on one


def connect(spec: EndpointSpec, server: ReplicaSpec) -> openai.AsyncOpenAI:
    """A client of one server. Nothing is sent yet. Retries are this package's own, so that there is one place."""
    return openai.AsyncOpenAI(
        base_url=server.base_url,
        api_key=os.environ.get(spec.key_name(server)) or NO_KEY,
        timeout=spec.timeout_s,
        max_retries=0,
    )


async def post(client: openai.AsyncOpenAI, request: ModelRequest) -> bytes:
    """The raw body of the response.

    Raises:
        openai.APIError: no answer, or one that broke off.
        RequestFailedError: an answer larger than any that was asked for; it is not read to its end.
    """
    # All goes through extra_body, which replaces the rest: the library looks at the type of every token of a `prompt`,
    # which took longer than anything else that this process does for a request.
    call: Any
    if request.is_chat:
        create = client.chat.completions.with_streaming_response.create
        call = create(model=request.model, messages=[], extra_body=request.body)
    elif request.is_embedding:
        embed = client.embeddings.with_streaming_response.create
        call = embed(model=request.model, input="", encoding_format="float", extra_body=request.body)
    else:
        plain = client.completions.with_streaming_response.create
        call = plain(model=request.model, prompt="", extra_body=request.body)
    async with call as response:
        return await _read(response)


async def list_models(client: openai.AsyncOpenAI) -> bytes:
    """The raw body of GET /models. Raises: as post."""
    call: Any = client.models.with_raw_response.list()
    response = await call
    content: bytes = response.content
    return content


async def _read(response: Any) -> bytes:
    chunks, size = list[bytes](), 0
    try:
        async for chunk in response.iter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_ANSWER_BYTES:
                break
    except Exception as error:  # the HTTP library's own, which differs between versions of openai
        raise openai.APIConnectionError(message=str(error), request=response.http_request) from error
    if size > MAX_ANSWER_BYTES:
        raise RequestFailedError(f"the answer is larger than {MAX_ANSWER_BYTES >> 20} MiB.")
    return b"".join(chunks)
