"""Requests of scorers to a chat, and what is said in answer."""

from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec

CHAT_OVERHEAD_TOKENS = 64  # roles and default system prompt, which the chat template of the endpoint adds


def chat_request(
    endpoint: EndpointSpec,
    tokenizer: PromptTokenizer,
    purpose: str,
    text: str,
    *,
    max_tokens: int,
    seed: int,
    temperature: float = 0.0,
) -> ModelRequest:
    """One message of the user."""
    return ModelRequest(
        purpose=purpose,
        model=endpoint.model,
        revision=endpoint.revision,
        body={
            "model": endpoint.model,
            "messages": [{"role": "user", "content": text}],
            "temperature": temperature,
            "max_completion_tokens": max_tokens,
            "seed": seed,
        },
        max_total_tokens=len(tokenizer.encode(text)) + CHAT_OVERHEAD_TOKENS + max_tokens,
    )


def content_of(answer: Answer) -> str:
    """What was said; nothing if it was refused."""
    message = answer.choice["message"]
    return "" if message.get("refusal") else (message.get("content") or "")
