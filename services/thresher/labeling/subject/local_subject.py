"""The model that a dictionary is of, in this process.

Its answers go through an Exchange as an endpoint's do: stored before anything is derived from them, asked for once.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from thresher.contracts.manifests import ModelIdentity
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.latents.subject.spliced_model import SplicedModel

NOWHERE = "http://localhost/in-process"  # an endpoint has an address; nobody calls this one


@dataclass(frozen=True)
class Made:
    """What came of a request: the body of its answer without the name and the usage, and the tokens it took."""

    body: dict[str, Any]
    num_prompt_tokens: int
    num_completion_tokens: int = 0


class LoadedSubject(Protocol):
    """The model and its tokenizers, loaded when they are first used."""

    @property
    def model(self) -> SplicedModel: ...

    @property
    def plain_tokenizer(self) -> PromptTokenizer:
        """Of texts, as a corpus is tokenised: what spells a special token is plain text."""

    @property
    def chat_tokenizer(self) -> Any:
        """transformers' own, with its chat template."""


class Task(Protocol):
    """How one kind of request is answered."""

    def answer(self, subject: LoadedSubject, body: dict[str, Any]) -> Made: ...


class LocalSubject:
    """Sends as EndpointClient does, to transformers' model in this process. One request at a time.

    The model is loaded at the first request: a run whose answers are all stored needs none.

    Args:
        folder: of the model.
        identity: what it is.
        family: reads its sites as this architecture's, where its own is not in the table.
    """

    def __init__(self, folder: Path, identity: ModelIdentity, family: str | None = None) -> None:
        self._folder, self._family, self._turn = folder, family, asyncio.Lock()
        self._tasks: dict[str, Task] = {}
        self._sites: dict[str, None] = {}
        self.spec = EndpointSpec(
            model=identity.name, revision=identity.weights_sha256, base_url=NOWHERE, concurrency=1
        )

    def add(self, key: str, task: Task, sites: Iterable[str]) -> None:
        """Answer requests whose body holds `key`; `sites` are what is read or replaced. Before the first request."""
        assert "model" not in vars(self), "the model is loaded with all its sites"
        self._tasks.setdefault(key, task)
        self._sites.update(dict.fromkeys(sites))

    async def close(self) -> None:
        """Nothing is held open."""

    async def send(self, request: ModelRequest, on_wasted: Callable[[], None] = lambda: None) -> Answer:
        """Answer by the task that the body names."""
        async with self._turn:
            return await asyncio.to_thread(self._answer, request)

    def _answer(self, request: ModelRequest) -> Answer:
        (task,) = (task for key, task in self._tasks.items() if key in request.body)
        made = task.answer(self, request.body)
        usage = {"prompt_tokens": made.num_prompt_tokens, "completion_tokens": made.num_completion_tokens}
        body = {"model": self.spec.model, **made.body, "usage": usage}
        return Answer(body, made.num_prompt_tokens, made.num_completion_tokens, datetime.now(UTC))

    @cached_property
    def model(self) -> SplicedModel:
        return SplicedModel(self._folder, list(self._sites), family=self._family)

    @cached_property
    def plain_tokenizer(self) -> PromptTokenizer:
        return PromptTokenizer(str(self._folder))

    @cached_property
    def chat_tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._folder)
