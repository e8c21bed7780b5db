"""From the bytes of a response to an answer that later code can rely on. The bytes are not trusted."""

import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, NoReturn

from pydantic_core import from_json

from thresher.labeling.endpoints.requests import Answer, ModelRequest

MAX_TOKENS = 1 << 40  # no request costs more; a larger count is nonsense, and would not fit a table


class MalformedAnswerError(Exception):
    """The response is not what the protocol promises; asking again may help."""


def parse_json(data: bytes) -> Any:
    """Strict JSON, but for broken characters, which become replacement characters: their answer is paid for.

    Raises:
        MalformedAnswerError: it is none, or holds NaN or Infinity.
    """
    try:  # a third of the time that the standard library takes; it refuses broken characters
        return from_json(data, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        return _parse_leniently(data.decode("utf-8", errors="replace"))


def _parse_leniently(text: str) -> Any:
    try:
        body = json.loads(text, parse_constant=_refuse_constant)
        if "\\ud" in text or "\\uD" in text:  # half of a surrogate pair is no text, and could not be stored
            whole = json.dumps(body, ensure_ascii=False).encode("utf-8", errors="replace")
            body = json.loads(whole)
    except RecursionError as error:
        raise MalformedAnswerError("nested too deeply") from error
    except ValueError as error:
        hint = "; it looks like a web page" if text.lstrip()[:1] == "<" else ""
        raise MalformedAnswerError(f"not JSON ({error}){hint}") from error
    return body


def parse_answer(request: ModelRequest, data: bytes) -> Answer:
    """Check a response's shape and drop the prompt log-probabilities that nobody will read.

    A server that counts no tokens is taken to have used the most that the request can cost.

    Raises:
        MalformedAnswerError: it is no JSON, lacks its choice or what the request asked for, or counts nonsense.
    """
    body = parse_json(data)
    if request.is_embedding:
        return _parse_embeddings(request, body)
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise MalformedAnswerError("no choices")
    _check_choice(request, choices[0])
    if request.read_positions:
        choices[0]["prompt_logprobs"] = _only(choices[0]["prompt_logprobs"], set(request.read_positions))
        choices[0].pop("prompt_token_ids", None)
    usage, received_at = body.get("usage"), datetime.now(UTC)
    if usage is None:
        return Answer(
            body, request.max_prompt_tokens, request.max_completion_tokens, received_at, reports_usage=False
        )
    num_prompt, num_completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    return Answer(body, num_prompt, num_completion, received_at, min(_num_cached(usage), num_prompt))


def _parse_embeddings(request: ModelRequest, body: Any) -> Answer:
    """One list of numbers, of one length, for each input, in their order."""
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list) or len(data) != len(request.body["input"]):
        raise MalformedAnswerError("embeddings do not cover the input")
    vectors = [item.get("embedding") if isinstance(item, dict) else None for item in data]
    for vector in vectors:
        if not isinstance(vector, list) or not vector or not all(map(_is_number, vector)):
            raise MalformedAnswerError("an embedding is no list of numbers")
    if len({len(vector) for vector in vectors if vector}) != 1:
        raise MalformedAnswerError("embeddings differ in length")
    usage, received_at = body.get("usage"), datetime.now(UTC)
    if usage is None:
        return Answer(body, request.max_total_tokens, 0, received_at, reports_usage=False)
    return Answer(body, _count(usage, "prompt_tokens"), 0, received_at)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


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
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_TOKENS:
        raise MalformedAnswerError(f"no usable usage.{key}")
    return value


def _num_cached(usage: dict[str, Any]) -> int:
    """Prompt tokens that the server had in its prefix cache, where it says so."""
    details = usage.get("prompt_tokens_details")
    value = details.get("cached_tokens") if isinstance(details, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _only(entries: list[Any], positions: Collection[int]) -> list[Any]:
    return [entry if position in positions else None for position, entry in enumerate(entries)]
