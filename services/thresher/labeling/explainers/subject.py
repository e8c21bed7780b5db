"""The model that a dictionary is of, in this process, with a vector in place of a word.

Its answers go through an Exchange as an endpoint's do: stored before anything is derived from them, asked for once.

Shape suffixes: B sequences of a batch, L tokens of the prompt, D width of the residual stream.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thresher.contracts.manifests import ModelIdentity
from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.templates import PLACE
from thresher.latents.subject.spliced_model import SplicedModel

WORD = "X"
NOWHERE = "http://localhost/in-process"  # an endpoint has an address; nobody calls this one
VectorOf = Callable[[int], torch.Tensor]
"""From a feature to its vector_D in the residual stream."""


@dataclass(frozen=True)
class Patch:
    """Which vector goes where.

    Args:
        dictionary_sha256: of the weights it is from, so that answers of one dictionary are never another's.
        layer: whose input is patched.
        scale: its length, in mean lengths of the rows around it.
    """

    dictionary_sha256: str
    feature: int
    layer: int
    scale: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class LocalSubject:
    """Sends as EndpointClient does, to transformers' model in this process. One request at a time.

    The model is loaded at the first request: a run whose answers are all stored needs none.

    Args:
        folder: of the model.
        identity: what it is.
        layer: whose input is patched; requests name it too.
        vector_of: where vectors come from.
    """

    def __init__(self, folder: Path, identity: ModelIdentity, layer: int, vector_of: VectorOf) -> None:
        self._folder, self._vector_of, self._turn = folder, vector_of, asyncio.Lock()
        self._site = f"resid_pre.{layer}"
        self.spec = EndpointSpec(
            model=identity.name, revision=identity.weights_sha256, base_url=NOWHERE, concurrency=1
        )

    async def close(self) -> None:
        """Nothing is held open."""

    async def send(self, request: ModelRequest, on_wasted: Callable[[], None] = lambda: None) -> Answer:
        """Decode one patched vector."""
        async with self._turn:
            return await asyncio.to_thread(self._answer, request)

    def _answer(self, request: ModelRequest) -> Answer:
        patch = Patch(**request.body["patch"])
        question, answer = (PLACE.sub(WORD, text) for text in request.body["prompt"])
        num_prompt, text_ids = self._generate(question, answer, patch, request.body["max_tokens"])
        body = {
            "model": self.spec.model,
            "choices": [{"index": 0, "text": self._tokenizer.decode(text_ids, skip_special_tokens=True)}],
            "usage": {"prompt_tokens": num_prompt, "completion_tokens": len(text_ids)},
        }
        return Answer(body, num_prompt, len(text_ids), datetime.now(UTC))

    def _generate(self, question: str, answer: str, patch: Patch, max_tokens: int) -> tuple[int, list[int]]:
        """Number of prompt tokens, and the ids that follow."""
        ids, places = self._prompt(question, answer)
        write = _PatchWriter(self._vector_of(patch.feature), patch.scale, places, len(ids))
        generated_L = self._model.generate(torch.tensor(ids), max_tokens, {self._site: write})
        return len(ids), [int(token) for token in generated_L]

    def _prompt(self, question: str, answer: str) -> tuple[list[int], list[int]]:
        """Token ids, and the positions of the word."""
        if self._tokenizer.chat_template:
            turn = [{"role": "user", "content": question}]
            text = self._tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
            text += answer
        else:
            text = f"{self._tokenizer.bos_token or ''}{question}\n{answer}"
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        quoted = f'"{WORD}"'
        starts = {index + 1 for index in range(len(text)) if text.startswith(quoted, index)}
        spans = enumerate(encoded["offset_mapping"])
        places = [position for position, (start, stop) in spans if starts & set(range(start, stop))]
        return list(encoded["input_ids"]), places

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._folder)

    @cached_property
    def _model(self) -> SplicedModel:
        return SplicedModel(self._folder, [self._site])


class _PatchWriter:
    """Writes the vector into the rows of the prompt; the tokens that follow are left as they are."""

    def __init__(self, vector_D: torch.Tensor, scale: float, places: list[int], num_tokens: int) -> None:
        self._direction_D, self._scale = nn.functional.normalize(vector_D.float(), dim=0), scale
        self._places, self._num_tokens = places, num_tokens

    def __call__(self, x_BLD: torch.Tensor) -> torch.Tensor:
        if x_BLD.shape[1] != self._num_tokens:
            return x_BLD
        patched_BLD = x_BLD.clone()
        patched_BLD[:, self._places] = self._scale * self._typical_length(x_BLD) * self._direction_D
        return patched_BLD

    def _typical_length(self, x_BLD: torch.Tensor) -> torch.Tensor:
        """Of the rows that stay, but for the first: it is an attention sink, and far longer."""
        stays_L = torch.ones(x_BLD.shape[1], dtype=torch.bool)
        stays_L[[0, *self._places]] = False
        length: torch.Tensor = x_BLD[:, stays_L].norm(dim=-1).mean()
        return length
