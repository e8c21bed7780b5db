"""Requests for log-probabilities over POST /v1/completions, and how to read them."""

from typing import Any

from thresher.labeling.endpoints.prompt_tokens import PromptTokens
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec


def prompt_logprobs_request(endpoint: EndpointSpec, prompt: PromptTokens, num_logprobs: int) -> ModelRequest:
    """Ask what the model would have expected at each marked position of the prompt (vLLM's extension)."""
    return ModelRequest(
        purpose="simulation",
        model=endpoint.model,
        revision=endpoint.revision,
        body={
            "model": endpoint.model,
            "prompt": prompt.ids,
            "max_tokens": 1,
            "temperature": 0,
            "prompt_logprobs": num_logprobs,
        },
        max_total_tokens=len(prompt.ids) + 1,
        read_positions=tuple(prompt.marks),
    )


def first_token_request(endpoint: EndpointSpec, prompt: PromptTokens, num_logprobs: int) -> ModelRequest:
    """Ask what the model expects after the prompt."""
    return ModelRequest(
        purpose="detection",
        model=endpoint.model,
        revision=endpoint.revision,
        body={
            "model": endpoint.model,
            "prompt": prompt.ids,
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": num_logprobs,
        },
        max_total_tokens=len(prompt.ids) + 1,
    )


def read_prompt_logprobs(choice: dict[str, Any], position: int) -> dict[int, float]:
    """Log-probability by token id, of the most likely tokens at a prompt position given all before it."""
    entry: dict[str, dict[str, Any]] = choice["prompt_logprobs"][position] or {}
    return {int(token_id): float(found["logprob"]) for token_id, found in entry.items()}


def read_first_token_logprobs(choice: dict[str, Any]) -> dict[str, float]:
    """Log-probability by token text, of the most likely first tokens; empty if the endpoint gave none."""
    top = (choice.get("logprobs") or {}).get("top_logprobs") or [{}]
    return {str(text): float(logprob) for text, logprob in (top[0] or {}).items()}
