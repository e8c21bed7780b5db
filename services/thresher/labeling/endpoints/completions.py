"""Requests for log-probabilities over POST /v1/completions, and how to read them and those of a chat."""

import math
from typing import Any

from thresher.labeling.endpoints.prompt_tokens import PromptTokens
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec


def prompt_logprobs_request(
    endpoint: EndpointSpec, prompt: PromptTokens, num_logprobs: int, purpose: str = "simulation"
) -> ModelRequest:
    """Ask what the model would have expected at each marked position of the prompt (vLLM's extension)."""
    return _one_token_request(
        endpoint, prompt, {"prompt_logprobs": num_logprobs}, purpose, tuple(prompt.marks)
    )


def first_token_request(
    endpoint: EndpointSpec, prompt: PromptTokens, num_logprobs: int, purpose: str
) -> ModelRequest:
    """Ask what the model expects after the prompt."""
    return _one_token_request(endpoint, prompt, {"logprobs": num_logprobs}, purpose)


def _one_token_request(
    endpoint: EndpointSpec,
    prompt: PromptTokens,
    wanted: dict[str, int],
    purpose: str,
    read_positions: tuple[int, ...] = (),
) -> ModelRequest:
    return ModelRequest(
        purpose=purpose,
        model=endpoint.model,
        revision=endpoint.revision,
        body={"model": endpoint.model, "prompt": prompt.ids, "max_tokens": 1, "temperature": 0, **wanted},
        max_total_tokens=len(prompt.ids) + 1,
        read_positions=read_positions,
    )


def read_prompt_logprobs(choice: dict[str, Any], position: int) -> dict[int, float]:
    """Log-probability by token id, of the most likely tokens at a prompt position given all before it.

    What is no log-probability of a token is left out: stored answers are read again and again, and must not raise.
    """
    entry = choice["prompt_logprobs"][position]
    found = {
        token_id: _logprob(item.get("logprob") if isinstance(item, dict) else None)
        for token_id, item in (entry.items() if isinstance(entry, dict) else ())
        if token_id.isdecimal()
    }
    return {int(token_id): logprob for token_id, logprob in found.items() if logprob is not None}


def read_prompt_logprobs_by_text(choice: dict[str, Any], position: int) -> dict[str, float]:
    """The same by token text."""
    entry = choice["prompt_logprobs"][position]
    items = [item for item in entry.values() if isinstance(item, dict)] if isinstance(entry, dict) else []
    found = {str(item.get("decoded_token")): _logprob(item.get("logprob")) for item in items}
    return {text: logprob for text, logprob in found.items() if logprob is not None}


def read_first_token_logprobs(choice: dict[str, Any]) -> dict[str, float]:
    """Log-probability by token text, of the most likely first tokens; empty if the endpoint gave none."""
    logprobs = choice.get("logprobs")
    top = logprobs.get("top_logprobs") if isinstance(logprobs, dict) else None
    first = top[0] if isinstance(top, list) and top else None
    found = {text: _logprob(value) for text, value in (first.items() if isinstance(first, dict) else ())}
    return {text: logprob for text, logprob in found.items() if logprob is not None}


def read_chat_logprobs(choice: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """Of each token of a chat's answer its text, and log-probability by text of the most likely ones in its place.

    Of tokens of one text, as parts of a character may be, the most likely counts.
    """
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    items = [item if isinstance(item, dict) else {} for item in content] if isinstance(content, list) else []
    return [(str(item.get("token") or ""), _by_text(item.get("top_logprobs"))) for item in items]


def _by_text(top: object) -> dict[str, float]:
    found: dict[str, float] = {}
    for item in top if isinstance(top, list) else ():
        logprob = _logprob(item.get("logprob")) if isinstance(item, dict) else None
        if logprob is not None:
            found[str(item.get("token"))] = max(logprob, found.get(str(item.get("token")), -math.inf))
    return found


def _logprob(value: object) -> float | None:
    """A finite number; rounding may leave it a little above zero, which no probability is."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return min(float(value), 0.0)
