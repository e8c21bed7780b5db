"""Requests to a chat, what is said in answer, and how a model is told that its answer is of no use."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.templates import load_template

CHAT_OVERHEAD_TOKENS = 64  # roles and default system prompt, which the chat template of the endpoint adds
MAX_SHOWN_CHARACTERS = 1000  # of an answer that is shown to the model again
THOUGHT = re.compile(r"^.*</think>", re.DOTALL)
REPAIR = load_template("answer-repair-v1")

Message = dict[str, str]


def user_message(text: str) -> Message:
    return {"role": "user", "content": text}


def chat_request(
    endpoint: EndpointSpec,
    tokenizer: PromptTokenizer,
    purpose: str,
    messages: Sequence[Message],
    *,
    max_tokens: int,
    seed: int,
    temperature: float = 0.0,
    options: Mapping[str, Any] | None = None,
) -> ModelRequest:
    """A turn of the model.

    Args:
        options: further keys of the body.
    """
    num_prompt_tokens = sum(
        len(tokenizer.encode(message["content"])) + CHAT_OVERHEAD_TOKENS for message in messages
    )
    return ModelRequest(
        purpose=purpose,
        model=endpoint.model,
        revision=endpoint.revision,
        body={
            "model": endpoint.model,
            "messages": list(messages),
            "temperature": temperature,
            "max_completion_tokens": max_tokens,
            "seed": seed,
            **(options or {}),
        },
        max_total_tokens=num_prompt_tokens + max_tokens,
    )


def chat_logprobs_request(
    endpoint: EndpointSpec,
    tokenizer: PromptTokenizer,
    purpose: str,
    text: str,
    *,
    max_tokens: int,
    num_logprobs: int,
) -> ModelRequest:
    """A turn of the model in answer to a text, with the most likely tokens in the place of each of its own."""
    return chat_request(
        endpoint,
        tokenizer,
        purpose,
        [user_message(text)],
        max_tokens=max_tokens,
        seed=0,
        options={"logprobs": True, "top_logprobs": num_logprobs},
    )


def is_refused(answer: Answer) -> bool:
    """The model declined, or its filter did."""
    return bool(answer.choice["message"].get("refusal")) or (
        answer.choice.get("finish_reason") == "content_filter"
    )


def content_of(answer: Answer) -> str:
    """What was said; nothing if it was refused."""
    return "" if is_refused(answer) else (answer.choice["message"].get("content") or "")


def repair_messages(answer: Answer, fault: str) -> list[Message]:
    """What follows an answer of no use: the answer itself, and what is wrong with it."""
    said = (answer.choice["message"].get("content") or "")[:MAX_SHOWN_CHARACTERS]
    return [{"role": "assistant", "content": said}, user_message(REPAIR.fill(fault=fault))]


def without_thought(content: str) -> str | None:
    """What follows the thinking of a model that thinks in `<think>` unasked; None if it never came to an end."""
    said = THOUGHT.sub("", content)
    return None if "<think>" in said else said
