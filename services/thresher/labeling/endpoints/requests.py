"""A request to a model and its answer, as the ledger knows them."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from thresher.contracts.errors import ThresherError
from thresher.contracts.ids import canonical_json, sha256_hex


class RequestFailedError(ThresherError):
    """The endpoint works, but refused or garbled this one request, retries included.

    Args:
        is_garbled: it answered, and not what it was asked for.
    """

    def __init__(self, message: str, *, is_garbled: bool = False) -> None:
        super().__init__(message)
        self.is_garbled = is_garbled


@dataclass(frozen=True)
class ModelRequest:
    """What is sent. Two requests of one content are one: their answer is asked for once.

    Args:
        purpose: explain, or the score type it is for.
        body: the JSON body; holds `messages` for a chat, `prompt` for a plain completion, `input` for embeddings.
        max_total_tokens: the most tokens that it can cost, prompt and answer.
        read_positions: for prompt log-probabilities, the only positions that will be read; others are not stored.
    """

    purpose: str
    model: str
    revision: str
    body: dict[str, Any]
    max_total_tokens: int
    read_positions: tuple[int, ...] = ()

    @cached_property
    def sha256(self) -> str:
        """Content address over model, revision and body."""
        parts = {"model": self.model, "revision": self.revision, "body": self.body}
        return sha256_hex(canonical_json(parts).encode())

    @property
    def is_chat(self) -> bool:
        return "messages" in self.body

    @property
    def is_embedding(self) -> bool:
        return "input" in self.body

    @property
    def max_completion_tokens(self) -> int:
        """The longest answer asked for; embeddings and the like are no tokens."""
        if not self.is_chat and "prompt" not in self.body:
            return 0
        asked = self.body.get("max_completion_tokens") or self.body.get("max_tokens") or self.max_total_tokens
        return min(int(asked), self.max_total_tokens)

    @property
    def max_prompt_tokens(self) -> int:
        return self.max_total_tokens - self.max_completion_tokens


@dataclass(frozen=True)
class Answer:
    """What came back: a JSON body with at least one choice, or one embedding, and when it was received (UTC).

    Args:
        num_cached_tokens: how many of the prompt's tokens the server says it had in its prefix cache.
        reports_usage: the server counted the tokens; else they are the most that the request can cost.
    """

    body: dict[str, Any]
    num_prompt_tokens: int
    num_completion_tokens: int
    received_at: datetime
    num_cached_tokens: int = 0
    reports_usage: bool = True

    @property
    def choice(self) -> dict[str, Any]:
        choice: dict[str, Any] = self.body["choices"][0]
        return choice

    @property
    def num_tokens(self) -> int:
        return self.num_prompt_tokens + self.num_completion_tokens
