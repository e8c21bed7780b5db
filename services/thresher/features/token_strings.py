"""The text of single tokens, such that joined they read as the text does."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tokenizers import Tokenizer

from thresher.contracts.errors import SpecError
from thresher.runtime.model_identity import tokenizer_sha256

ANCHOR_TEXT = "a"
UNKNOWN = "\N{REPLACEMENT CHARACTER}"


class TokenStrings:
    """Decodes token ids one by one; bytes that are no whole character read as the replacement character."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # A token is decoded behind an anchor: alone, SentencePiece tokenizers drop the space before its word.
        self._anchor: list[int] = tokenizer.encode(ANCHOR_TEXT, add_special_tokens=False).ids
        self._anchor_length = len(self._decode([]))

    def table(self, token_ids: npt.NDArray[np.int32]) -> pa.StringArray:
        """Strings by token id, up to the largest of `token_ids`; null where the id is not among them."""
        strings: list[str | None] = [None] * (int(token_ids.max(initial=-1)) + 1)
        for token_id in token_ids.tolist():
            strings[token_id] = self._text(token_id)
        return pa.array(strings, pa.string())

    def _text(self, token_id: int) -> str:
        if self._tokenizer.id_to_token(token_id) is None:
            return UNKNOWN
        return self._decode([token_id])[self._anchor_length :]

    def _decode(self, token_ids: list[int]) -> str:
        return str(self._tokenizer.decode([*self._anchor, *token_ids], skip_special_tokens=False))


def open_token_strings(folder: str, expected_sha256: str) -> TokenStrings:
    """Open the tokenizer of a model folder.

    Raises:
        SpecError: the folder holds no tokenizer.json, or another tokenizer than the harvested model's.
    """
    found = tokenizer_sha256("tokenizer", folder)
    if found != expected_sha256:
        raise SpecError(
            "tokenizer", folder, mend="The harvest was tokenised otherwise: give its model's folder."
        )
    return TokenStrings(Tokenizer.from_file(str(Path(folder) / "tokenizer.json")))
