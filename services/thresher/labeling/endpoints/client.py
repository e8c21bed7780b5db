"""An OpenAI-compatible endpoint: bounded concurrency, patient retries, errors that say whose fault it is."""

import asyncio
import os
from typing import Any, NoReturn

import openai

from thresher.contracts.errors import EndpointError, SpecError
from thresher.labeling.endpoints.answers import MalformedAnswerError, parse_answer
from thresher.labeling.endpoints.requests import Answer, ModelRequest, RequestFailedError
from thresher.labeling.endpoints.spec import EndpointSpec

MALFORMED_ATTEMPTS = 3
MAX_FAILURES_IN_A_ROW = 8
NO_KEY = "none"  # local servers ask for no key, but the client library insists on one


class EndpointClient:
    """Sends requests to one endpoint.

    Rate limits (with their Retry-After), server errors, broken connections and timeouts are retried by the openai
    library with exponential backoff; garbled answers are asked for again here.
    """

    def __init__(self, spec: EndpointSpec) -> None:
        self.spec = spec
        self._client = openai.AsyncOpenAI(
            base_url=spec.base_url,
            api_key=os.environ.get(spec.api_key_env) or NO_KEY,
            timeout=spec.timeout_s,
            max_retries=spec.max_retries,
        )
        self._slots = asyncio.Semaphore(spec.concurrency)
        self._failures_in_a_row = 0

    async def close(self) -> None:
        await self._client.close()

    async def served_models(self) -> dict[str, int | None]:
        """Names of the models served, each with its longest sequence in tokens where the server says so.

        Raises:
            EndpointError: the endpoint cannot be reached, or refuses the key.
        """
        try:
            page = await self._client.models.list()
        except openai.APIError as error:
            self._refuse(error)
        return {model.id: (model.model_extra or {}).get("max_model_len") for model in page.data}

    async def send(self, request: ModelRequest) -> Answer:
        """Ask, and wait for a well-formed answer.

        Raises:
            EndpointError: the endpoint is down, refuses the key, has no such model, or keeps on failing.
            RequestFailedError: it refuses or garbles this request alone.
        """
        try:
            async with self._slots:
                answer = await self._attempt(request)
        except RequestFailedError as error:
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                raise EndpointError(
                    f"{self.spec.base_url} failed {self._failures_in_a_row} requests in a row, the last with: {error} "
                    "Mend it and run again: stored answers are not asked for again."
                ) from error
            raise
        self._failures_in_a_row = 0
        return answer

    async def _attempt(self, request: ModelRequest) -> Answer:
        fault: MalformedAnswerError | None = None
        for _ in range(MALFORMED_ATTEMPTS):
            try:
                return parse_answer(request, await self._post(request))
            except MalformedAnswerError as error:
                fault = error
            except openai.APIError as error:
                self._refuse(error)
        raise RequestFailedError(f"{MALFORMED_ATTEMPTS} malformed answers: {fault}.") from fault

    async def _post(self, request: ModelRequest) -> str:
        body = dict(request.body)
        model = body.pop("model")
        if request.is_chat:
            messages = body.pop("messages")
            chat = self._client.chat.completions.with_raw_response
            response: Any = await chat.create(model=model, messages=messages, extra_body=body)
        else:
            prompt = body.pop("prompt")
            plain = self._client.completions.with_raw_response
            response = await plain.create(model=model, prompt=prompt, extra_body=body)
        text: str = response.text
        return text

    def _refuse(self, error: openai.APIError) -> NoReturn:
        """Sort a failure that outlived its retries by who has to mend it."""
        where, key = self.spec.base_url, self.spec.api_key_env
        if isinstance(error, openai.APITimeoutError):
            raise EndpointError(
                f"{where} did not answer within {self.spec.timeout_s:g} s: raise timeout_s or lower concurrency."
            ) from error
        if not isinstance(error, openai.APIStatusError):
            raise EndpointError(
                f"{where} cannot be reached ({error.message}): start the server, or correct base_url."
            ) from error
        if error.status_code in (401, 403):
            raise EndpointError(f"{where} refuses the key ({error.status_code}): correct ${key}.") from error
        if error.status_code == 402 or error.code == "insufficient_quota":
            raise EndpointError(
                f"{where} says the account of ${key} has no credit left: top it up."
            ) from error
        if error.status_code == 429:
            raise EndpointError(
                f"{where} keeps limiting the rate: lower concurrency, or run again later."
            ) from error
        if error.status_code == 404:
            raise SpecError(
                "endpoint.model", self.spec.model, mend=f"{where} answers 404: {error.message}"
            ) from error
        raise RequestFailedError(f"HTTP {error.status_code}: {error.message[:300]}") from error
