"""From the bytes of a response to an answer that later code can rely on."""

import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from thresher.labeling.endpoints.requests import Answer, ModelRequest


class MalformedAnswerError(Exception):
    """The response is not what the protocol promises; asking again may help."""


def parse_answer(request: ModelRequest, text: str) -> Answer:
    """Check a response's shape and drop the prompt log-probabilities that nobody will read.

    Raises:
        MalformedAnswerError: it is no JSON, or lacks its choice, its usage or what the request asked for.
    """
    try:
        body = json.loads(text)
    except json.JSONDecodeError as error:
        raise MalformedAnswerError(f"not JSON ({error})") from error
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise MalformedAnswerError("no choices")
    _check_choice(request, choices[0])
    usage = body.get("usage")
    num_prompt, num_completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if request.read_positions:
        choices[0]["prompt_logprobs"] = _only(choices[0]["prompt_logprobs"], set(request.read_positions))
        choices[0].pop("prompt_token_ids", None)
    return Answer(body, num_prompt, num_completion, datetime.now(UTC))


def _check_choice(request: ModelRequest, choice: dict[str, Any]) -> None:
    if request.is_chat:
        message = choice.get("message")
        if not isinstance(message, dict) or not isinstance(message.get("content") or "", str):
            raise MalformedAnswerError("no message")
    elif not isinstance(choice.get("text"), str):
        raise MalformedAnswerError("no text")
    if request.read_positions:
        entries = choice.get("prompt_logprobs")
        if not isinstance(entries, list) or len(entries) != len(request.body["prompt"]):
            raise MalformedAnswerError("prompt_logprobs do not cover the prompt")


def _count(usage: object, key: str) -> int:
    value = usage.get(key) if isinstance(usage, dict) else None
    if not isinstance(value, int) or value < 0:
        raise MalformedAnswerError(f"no usage.{key}")
    return value


def _only(entries: list[Any], positions: Collection[int]) -> list[Any]:
    return [entry if position in positions else None for position, entry in enumerate(entries)]
