"""Find out what an endpoint can do, by a handful of tiny requests, before anything is spent on it."""

import asyncio
import re
from collections.abc import Collection, Sequence
from typing import Any

from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import Capabilities
from thresher.labeling.endpoints.client import EndpointClient
from thresher.labeling.endpoints.models import ModelCard
from thresher.labeling.endpoints.needs import Ability, Need, check_needs
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import Answer, ModelRequest, RequestFailedError

PROBE_TEXT = "Is water wet? Answer:"
PROBE_DIGIT = "7"
LADDER = (100, 50, 20, 10, 5, 2, 1)
CONTEXT_IN_ERROR = re.compile(r"context (?:length|window|size)\D{0,40}(\d[\d,]*)", re.IGNORECASE)
TOO_LONG_ANSWER = 100_000_000
SCHEMA = {
    "type": "object",
    "properties": {"wet": {"type": "boolean"}},
    "required": ["wet"],
    "additionalProperties": False,
}


async def check_model(client: EndpointClient) -> ModelCard:
    """The endpoint is there, takes the key and serves the model.

    Raises:
        EndpointError, SpecError: it is or does not; says what to mend.
    """
    served = await client.served_models()
    if client.spec.model not in served:
        raise SpecError(
            "endpoint.model", client.spec.model, allowed=sorted(served), mend="Name a model it serves."
        )
    return served[client.spec.model]


async def probe(
    client: EndpointClient,
    card: ModelCard,
    tokenizer: PromptTokenizer,
    needs: Sequence[Need],
    *,
    chats: bool = False,
) -> Capabilities:
    """What the endpoint can do of all that is needed.

    Args:
        chats: it will be asked over /v1/chat/completions, and may be so now.

    Raises:
        EndpointError: it is down, or refuses.
        SpecError: it lacks something, or its tokenizer is another; names the mend.
    """
    prober = _Prober(client, tokenizer)
    wanted = {need.ability: max(n.amount for n in needs if n.ability == need.ability) for need in needs}
    found: dict[str, Any] = {}
    amounts = await asyncio.gather(*(prober.amount(ability, wanted[ability]) for ability in wanted))
    for ability, amount in zip(wanted, amounts, strict=True):
        is_number = ability.endswith("logprobs")
        found[f"max_{ability}" if is_number else ability] = amount if is_number else amount > 0
    capabilities = Capabilities(
        model=client.spec.model,
        root=card.root,
        max_model_len=card.max_model_len or (await prober.context_by_error() if chats else None),
        ten_is_one_token=len(tokenizer.encode("10")) == 1,
        reports_usage=prober.reports_usage,
        **found,
    )
    check_needs(client.spec.servers[0].base_url, capabilities, needs)
    return capabilities


def check_context(where: str, capabilities: Capabilities, requests: Collection[ModelRequest]) -> None:
    """Raises: SpecError: the longest of the requests does not fit."""
    longest = max(requests, key=lambda request: request.max_total_tokens, default=None)
    limit = capabilities.max_model_len
    if longest is not None and limit is not None and longest.max_total_tokens > limit:
        field = "explainer" if longest.purpose == "explain" else longest.purpose
        raise SpecError(
            field,
            f"{longest.max_total_tokens} tokens",
            mend=f"{where} takes {limit} tokens a request: show fewer or shorter texts, or serve the model with a "
            "longer context (vLLM: --max-model-len).",
        )


class _Prober:
    def __init__(self, client: EndpointClient, tokenizer: PromptTokenizer) -> None:
        self._client, self._tokenizer = client, tokenizer
        self.reports_usage: bool | None = None

    async def amount(self, ability: Ability, needed: int) -> int:
        """How much of it there is."""
        if ability.endswith("logprobs"):
            return await self.most(ability, needed)
        return int(await (self.embeds() if ability == "embeddings" else self.works(ability)))

    async def most(self, ability: Ability, amount: int) -> int:
        """The largest number of log-probabilities it gives: what is needed, more if more work, else what works."""
        garbled = False
        steps = sorted({amount, *LADDER}, reverse=True)
        for step in (amount, *(step for step in steps if step != amount)):
            try:
                answer = await self._ask(self._logprobs_body(ability, step))
            except RequestFailedError as error:
                garbled = garbled or error.is_garbled
            else:
                if step == amount and ability == "prompt_logprobs":
                    self._check_tokenizer(answer)
                if _gives(answer, ability):
                    return await self._more(ability, amount) if step == amount else step
                garbled = True
            if garbled:  # it does not know of them: fewer will not do either
                return 0
        return 0

    async def _more(self, ability: Ability, amount: int) -> int:
        for step in (step for step in LADDER if step > amount):
            try:
                answer = await self._ask(self._logprobs_body(ability, step))
            except RequestFailedError:
                continue
            if _gives(answer, ability):
                return step
        return amount

    async def works(self, ability: Ability) -> bool:
        schema = {"name": "answer", "strict": True, "schema": SCHEMA}
        form: dict[str, Any] = (
            {"type": "json_schema", "json_schema": schema}
            if ability == "json_schema"
            else {"type": "json_object"}
        )
        try:
            answer = await self._ask(
                self._chat('JSON: {"wet": true or false}', max_tokens=16, response_format=form)
            )
        except RequestFailedError:
            return False
        return str(answer.choice["message"].get("content") or "").lstrip().startswith("{")

    async def embeds(self) -> bool:
        try:
            await self._ask({"input": [PROBE_TEXT]})
        except RequestFailedError:
            return False
        return True

    async def context_by_error(self) -> int | None:
        """From what it says to an answer longer than anything. One that does not refuse stops at the first word."""
        try:
            await self._ask(self._chat("", max_tokens=TOO_LONG_ANSWER, stop=[" ", "\n", ".", ","]))
        except RequestFailedError as error:
            match = CONTEXT_IN_ERROR.search(str(error))
            return int(match[1].replace(",", "")) if match else None
        return None

    async def _ask(self, body: dict[str, Any]) -> Answer:
        body = {"model": self._client.spec.model, **body}
        positions = tuple(range(1, len(body["prompt"]))) if "prompt_logprobs" in body else ()
        request = ModelRequest("probe", self._client.spec.model, "", body, 100, read_positions=positions)
        answer = await self._client.try_one(request)
        self.reports_usage = answer.reports_usage
        return answer

    def _logprobs_body(self, ability: Ability, amount: int) -> dict[str, Any]:
        if ability == "chat_logprobs":
            return self._chat("", max_tokens=1, logprobs=True, top_logprobs=amount)
        prompt = self._tokenizer.start()
        self._tokenizer.add(prompt, [PROBE_TEXT])
        if ability == "prompt_logprobs":
            self._tokenizer.add(prompt, ["\t", PROBE_DIGIT])
        return {"prompt": prompt.ids, "max_tokens": 1, "temperature": 0, ability: amount}

    def _chat(self, text: str, max_tokens: int, **options: Any) -> dict[str, Any]:
        content = f"{PROBE_TEXT} {text}".strip()
        messages = [{"role": "user", "content": content}]
        return {
            "messages": messages,
            "max_completion_tokens": max_tokens,
            "temperature": 0,
            **options,
        }

    def _check_tokenizer(self, answer: Answer) -> None:
        """The digit that ends the prompt is the same token there as here."""
        digit = self._tokenizer.encode(PROBE_DIGIT)[-1]
        entry = answer.choice["prompt_logprobs"][-1]
        actual = entry.get(str(digit)) if isinstance(entry, dict) else None
        text = actual.get("decoded_token") if isinstance(actual, dict) else None
        if isinstance(text, str) and text.strip() != PROBE_DIGIT:
            raise SpecError("tokenizer", text, mend="Give the tokenizer of the model that is served.")


def _gives(answer: Answer, ability: Ability) -> bool:
    if ability == "prompt_logprobs":
        return any(answer.choice["prompt_logprobs"])
    logprobs = answer.choice.get("logprobs")
    if not isinstance(logprobs, dict):
        return False
    return bool(logprobs.get("content" if ability == "chat_logprobs" else "top_logprobs"))
