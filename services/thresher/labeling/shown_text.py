"""Exemplars as lines of a prompt. Their tokens are untrusted: no line of theirs may pass for the prompt's own."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from thresher.labeling.exemplars.exemplar import Exemplar

MAX_LEVEL = 9
MAX_STRONGEST_TOKENS = 12
CHAT_MARKUP = re.compile(r"<(?=\||/?s>|/?think>|(?:start|end)_of_turn>)|\[(?=/?INST\])", re.IGNORECASE)
"""What chat templates of common models read as the beginning or end of a turn."""
PLAIN_QUOTES = str.maketrans(
    {
        "\N{LEFT SINGLE QUOTATION MARK}": "'",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{LEFT DOUBLE QUOTATION MARK}": '"',
        "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    }
)
LOOKALIKES = str.maketrans(
    {
        "«": "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}",
        "»": "\N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK}",
    }
)


def strongest_tokens(shown: Sequence[Exemplar]) -> list[str]:
    """Distinct tokens that fire, the strongest first."""
    strongest: dict[str, float] = {}
    for item in shown:
        for token, activation in zip(item.tokens, item.activations_C, strict=True):
            if activation > 0 and (text := plain(token)):
                strongest[text] = max(strongest.get(text, 0.0), float(activation))
    ranked = sorted(strongest, key=lambda text: -strongest[text])
    return ranked[:MAX_STRONGEST_TOKENS]


def marked_lines(shown: Sequence[Exemplar]) -> str:
    """A line an exemplar, with levels of the strongest activation of all."""
    max_activation = max(float(item.activations_C.max()) for item in shown)
    return "\n".join(marked_text(item, max_activation) for item in shown)


def marked_text(exemplar: Exemplar, max_activation: float) -> str:
    """One line: tokens that fire are in guillemets, with a level from 1 to 9 of `max_activation` behind them."""
    levels = np.rint(MAX_LEVEL * np.maximum(exemplar.activations_C, 0) / max_activation).astype(int)
    pieces = [
        _marked(token, int(level)) if level > 0 else token.translate(LOOKALIKES)
        for token, level in zip(exemplar.tokens, levels, strict=True)
    ]
    return one_line("".join(pieces))


def plain(text: str) -> str:
    """One line without marks."""
    return one_line(text.translate(LOOKALIKES))


def listed(tokens: Iterable[str]) -> str:
    """Distinct tokens in quotes, whatever their case and spacing; those that hold nothing visible are left out."""
    found: dict[str, str] = {}
    for token in tokens:
        if text := plain(token):
            found.setdefault(text.casefold(), f'"{text}"')
    return ", ".join(found.values())


def one_line(text: str) -> str:
    """Without line breaks, control characters, and what a chat template would read as a turn's end."""
    visible = "".join(" " if unicodedata.category(char) in ("Cc", "Cf") else char for char in text)
    return " ".join(CHAT_MARKUP.sub(lambda found: found[0] + " ", visible).split())


def _marked(token: str, level: int) -> str:
    inner = token.strip()
    if not inner:
        return token
    start = token.index(inner)
    return f"{token[:start]}«{inner.translate(LOOKALIKES)}»({level}){token[start + len(inner) :]}"
