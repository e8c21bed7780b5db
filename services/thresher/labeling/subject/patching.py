"""A vector in place of a word of the prompt, and what the model says then.

Shape suffixes: B sequences of a batch, L tokens of the prompt, D width of the residual stream.
"""

from collections.abc import Callable
from typing import Any

import torch

from thresher.labeling.subject.lengths import typical_length, unit_vector
from thresher.labeling.subject.local_subject import LoadedSubject, Made
from thresher.labeling.subject.requests import Patch
from thresher.labeling.templates import PLACE

WORD = "X"
VectorOf = Callable[[int], torch.Tensor]
"""From a feature to its vector_D in the residual stream."""


def patched_site(layer: int) -> str:
    """The input of a layer."""
    return f"resid_pre.{layer}"


class Patching:
    """Decodes one patched vector a request."""

    def __init__(self, vector_of: VectorOf) -> None:
        self._vector_of = vector_of

    def answer(self, subject: LoadedSubject, body: dict[str, Any]) -> Made:
        patch = Patch(**body["patch"])
        question, answer = (PLACE.sub(WORD, text) for text in body["prompt"])
        ids, places = _prompt(subject.chat_tokenizer, question, answer)
        write = _PatchWriter(self._vector_of(patch.feature), patch.scale, places, len(ids))
        generated_L = subject.model.generate(
            torch.tensor(ids), body["max_tokens"], {patched_site(patch.layer): write}
        )
        text = subject.chat_tokenizer.decode(generated_L, skip_special_tokens=True)
        return Made({"choices": [{"index": 0, "text": text}]}, len(ids), len(generated_L))


def _prompt(tokenizer: Any, question: str, answer: str) -> tuple[list[int], list[int]]:
    """Token ids, and the positions of the word."""
    if tokenizer.chat_template:
        turn = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True) + answer
    else:
        text = f"{tokenizer.bos_token or ''}{question}\n{answer}"
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    quoted = f'"{WORD}"'
    starts = {index + 1 for index in range(len(text)) if text.startswith(quoted, index)}
    spans = enumerate(encoded["offset_mapping"])
    places = [position for position, (start, stop) in spans if starts & set(range(start, stop))]
    return list(encoded["input_ids"]), places


class _PatchWriter:
    """Writes the vector into the rows of the prompt; the tokens that follow are left as they are."""

    def __init__(self, vector_D: torch.Tensor, scale: float, places: list[int], num_tokens: int) -> None:
        self._direction_D, self._scale = unit_vector(vector_D), scale
        self._places, self._num_tokens = places, num_tokens

    def __call__(self, x_BLD: torch.Tensor) -> torch.Tensor:
        if x_BLD.shape[1] != self._num_tokens:
            return x_BLD
        patched_BLD = x_BLD.clone()
        length = typical_length(x_BLD, [0, *self._places])
        patched_BLD[:, self._places] = self._scale * length * self._direction_D
        return patched_BLD
