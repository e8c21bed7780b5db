"""Joined token strings read as the text, for both families of tokenizer."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from fixtures.tokenizers import byte_level_tokenizer, metaspace_tokenizer
from thresher.contracts.errors import SpecError
from thresher.features.token_strings import TokenStrings, open_token_strings


@pytest.mark.parametrize(
    ("tokenizer", "text", "shown"),
    [
        (byte_level_tokenizer(), "on the other\nday", "on the other\nday"),
        (metaspace_tokenizer(), "the cats sat", " the cats sat"),
    ],
)
def test_joined_they_read_as_the_text(tokenizer: Tokenizer, text: str, shown: str) -> None:
    ids = np.array(tokenizer.encode(text).ids, np.int32)
    strings = TokenStrings(tokenizer).table(np.unique(ids))
    assert "".join(strings.take(ids).to_pylist()) == shown


def test_bytes_of_a_broken_character_read_as_the_replacement_character() -> None:
    tokenizer = byte_level_tokenizer()
    ids = np.array(tokenizer.encode("é").ids, np.int32)
    assert len(ids) == 2
    assert TokenStrings(tokenizer).table(np.unique(ids)).take(ids).to_pylist() == ["\ufffd", "\ufffd"]


def test_special_tokens_are_shown_and_padding_ids_are_marked() -> None:
    tokenizer = byte_level_tokenizer()
    end = tokenizer.token_to_id("<|end|>")
    beyond = tokenizer.get_vocab_size() + 5
    strings = TokenStrings(tokenizer).table(np.array([end, beyond], np.int32))
    assert (strings[end].as_py(), strings[beyond].as_py()) == ("<|end|>", "\ufffd")


def test_another_tokenizer_than_the_harvests_is_refused(tokenizer_folder: Path) -> None:
    with pytest.raises(SpecError, match="tokenised otherwise"):
        open_token_strings(str(tokenizer_folder), expected_sha256="0" * 64)
