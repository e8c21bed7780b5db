"""The endpoint's tokenizer, used here to know exactly which prompt position holds what."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer

from thresher.contracts.errors import SpecError


@dataclass
class PromptTokens:
    """Token ids of a prompt under construction."""

    ids: list[int] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    """Positions that were marked, in order."""


class PromptTokenizer:
    """Text to token ids without special tokens: text that spells one, as `<|im_end|>`, stays plain text."""

    def __init__(self, folder: str) -> None:
        file = Path(folder) / "tokenizer.json"
        if not file.is_file():
            raise SpecError(
                "tokenizer", folder, mend="Give a folder that holds the endpoint model's tokenizer.json."
            )
        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.encode_special_tokens = True
        self._prefix: list[int] = self._tokenizer.encode("").ids

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def start(self) -> PromptTokens:
        """A prompt that holds what the model expects first (BOS, or nothing)."""
        return PromptTokens(list(self._prefix))

    def add(self, prompt: PromptTokens, pieces: Sequence[str]) -> None:
        """Append pieces of text, each tokenised by itself."""
        for piece in pieces:
            prompt.ids.extend(self.encode(piece))

    def mark(self, prompt: PromptTokens, piece: str) -> None:
        """Append a piece, and mark the position of its first token."""
        prompt.marks.append(len(prompt.ids))
        prompt.ids.extend(self.encode(piece))

    def level_tokens(self) -> dict[int, int]:
        """Token id to activation level: 0 to 10 where "10" is one token, else 0 to 9.

        Raises:
            SpecError: the tokenizer does not give every digit a token of its own.
        """
        ids_of_levels = {level: self.encode(str(level)) for level in range(11)}
        level_by_token = {ids[0]: level for level, ids in ids_of_levels.items() if len(ids) == 1}
        missing = set(range(10)) - set(level_by_token.values())
        if missing:
            raise SpecError(
                "tokenizer",
                f"digit {min(missing)}",
                mend="Simulation needs a token for each digit: set simulation to null.",
            )
        return level_by_token
