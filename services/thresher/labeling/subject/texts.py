"""Texts of ours as token ids, in the way that sequences of the corpus begin.

Shapes: N texts, L tokens of the longest.
"""

from collections.abc import Sequence

import torch

from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.subject.requests import MAX_TEXT_TOKENS


def token_ids(tokenizer: PromptTokenizer, first_token_id: int | None, text: str) -> list[int]:
    """What stands first, then the text; at most MAX_TEXT_TOKENS."""
    first = [] if first_token_id is None else [first_token_id]
    return [*first, *tokenizer.encode(text)][:MAX_TEXT_TOKENS]


def padded(ids: Sequence[Sequence[int]]) -> torch.Tensor:
    """ids_NL, with zeros behind: no row of a causal model depends on what follows it."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(item) for item in ids], batch_first=True)
