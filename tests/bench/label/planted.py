"""Latents planted in real text: each fires on three common words, one strongly, one less, one weakly.

Texts are the bundled summaries, tokens the bundled model's, so that prompts have the lengths they have elsewhere. A
tenth of the windows fire on another word instead, as a dictionary's latents do, so that no label is quite right.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from fixtures.exemplars import Rule, publish_features
from thresher.contracts.exemplars import EXEMPLAR_SPLITS, ExemplarKind
from thresher.runtime.local.bundled import wikipedia_summaries
from thresher.storage import open_store

WINDOW_TOKENS = 32
SPLITS = (*EXEMPLAR_SPLITS, "fresh")
"""The last is shown to neither side: labels are compared on it."""
NUM_WINDOWS: dict[ExemplarKind, int] = {"top": 25, "quantile": 30, "random": 10, "negative": 60}
NUM_FIRING = NUM_WINDOWS["top"] + NUM_WINDOWS["quantile"] + NUM_WINDOWS["random"]
NUM_STRATA = 10
STRENGTHS = (6.0, 4.0, 2.0)
IMPURE_CHANCE = 0.015
"""That a document without the latent's words gives a firing window; makes about a tenth of them."""
DOCUMENTS_OF_WORD = (150, 700)
WORD = re.compile(r"[a-z]{4,}")


@dataclass(frozen=True)
class Window:
    """Tokens of one document with a latent's activations."""

    doc_id: str
    start: int
    token_ids: list[int]
    tokens: list[str]
    activations: list[float]

    @property
    def peak(self) -> float:
        return max(self.activations)


@dataclass(frozen=True)
class Document:
    doc_id: str
    split: str
    token_ids: list[int]
    tokens: list[str]


@dataclass(frozen=True)
class PlantedLatent:
    """A latent with its windows by split, the firing ones by falling peak."""

    feature: int
    rule: Rule
    firing: dict[str, list[Window]]
    silent: dict[str, list[Window]]


def rule_of(words: Sequence[str]) -> Rule:
    return Rule(name_of(words), frozenset(words).__contains__, tuple(words))


def name_of(words: Sequence[str]) -> str:
    """What a good label says."""
    return "the words " + " and ".join(words) if len(words) > 1 else f"the word {words[0]}"


@cache
def documents(tokenizer_folder: str) -> list[Document]:
    """The summaries, each dealt to a split by its hash."""
    tokenizer = Tokenizer.from_file(f"{tokenizer_folder}/tokenizer.json")
    summaries = json.loads(wikipedia_summaries().read_text(encoding="utf-8"))
    texts = {title: " ".join(entry["extract"].split()) for title, entry in summaries.items()}
    pieces: dict[int, str] = {}
    found = []
    for title, encoding in zip(texts, tokenizer.encode_batch(list(texts.values())), strict=True):
        for token in encoding.ids:
            if token not in pieces:
                pieces[token] = tokenizer.decode([token])
        tokens = [pieces[token] for token in encoding.ids]
        digest = hashlib.sha256(title.encode()).digest()
        if len(tokens) >= WINDOW_TOKENS and "\N{REPLACEMENT CHARACTER}" not in "".join(tokens):
            found.append(Document(digest.hex()[:16], SPLITS[digest[0] % len(SPLITS)], encoding.ids, tokens))
    return found


def plant(tokenizer_folder: str, num_latents: int, seed: int) -> list[PlantedLatent]:
    """Latents of disjoint words."""
    rng = np.random.default_rng(seed)
    texts = documents(tokenizer_folder)
    counts = Counter(
        word for text in texts for word in {token[1:] for token in text.tokens if _is_word(token)}
    )
    low, high = DOCUMENTS_OF_WORD
    words = sorted(word for word, count in counts.items() if low <= count <= high)
    chosen = rng.choice(words, (num_latents, len(STRENGTHS)), replace=False)
    return [_latent(index, tuple(map(str, row)), texts, rng) for index, row in enumerate(chosen)]


def _is_word(token: str) -> bool:
    return token.startswith(" ") and WORD.fullmatch(token[1:]) is not None


def _latent(
    feature: int, words: tuple[str, ...], texts: Sequence[Document], rng: np.random.Generator
) -> PlantedLatent:
    firing: dict[str, list[Window]] = {split: [] for split in SPLITS}
    silent: dict[str, list[Window]] = {split: [] for split in SPLITS}
    strengths = {f" {word}": strength for word, strength in zip(words, STRENGTHS, strict=True)}
    for index in rng.permutation(len(texts)):
        text = texts[index]
        places = [place for place, token in enumerate(text.tokens) if token in strengths]
        impure = not places and len(firing[text.split]) < NUM_FIRING and rng.random() < IMPURE_CHANCE
        if (places or impure) and len(firing[text.split]) < NUM_FIRING:
            firing[text.split].append(_firing_window(text, places, strengths, rng))
        elif not places and len(silent[text.split]) < NUM_WINDOWS["negative"]:
            start = int(rng.integers(0, len(text.tokens) - WINDOW_TOKENS + 1))
            silent[text.split].append(_window(text, start, {}))
    for split in SPLITS:
        assert len(firing[split]) == NUM_FIRING, (words, split, len(firing[split]))
        firing[split].sort(key=lambda window: -window.peak)
    return PlantedLatent(feature, rule_of(words), firing, silent)


def _firing_window(
    text: Document, places: Sequence[int], strengths: dict[str, float], rng: np.random.Generator
) -> Window:
    """Around one of the latent's words, or, in an impure one, of any other."""
    if places:
        active = {place: strengths[text.tokens[place]] * rng.uniform(0.75, 1.25) for place in places}
    else:
        others = [place for place, token in enumerate(text.tokens) if _is_word(token)] or [0]
        active = {int(rng.choice(others)): float(rng.uniform(min(STRENGTHS), max(STRENGTHS)))}
    centre = int(rng.choice(list(active)))
    start = min(max(0, centre - int(rng.integers(0, WINDOW_TOKENS))), len(text.tokens) - WINDOW_TOKENS)
    return _window(text, start, active)


def _window(text: Document, start: int, active: dict[int, float]) -> Window:
    stop = start + WINDOW_TOKENS
    activations = [round(active.get(place, 0.0), 4) for place in range(start, stop)]
    return Window(text.doc_id, start, text.token_ids[start:stop], text.tokens[start:stop], activations)


def publish(root: str, latents: Sequence[PlantedLatent]) -> None:
    """The features artifact that thresher labels."""
    rows = [row for latent in latents for row in _rows(latent)]
    publish_features(open_store(root), rows, [_stats(latent) for latent in latents], [])


def write_for_peers(file: Path, latents: Sequence[PlantedLatent]) -> None:
    """The same windows as JSON."""
    file.write_text(json.dumps([
        {
            "feature": latent.feature,
            "words": latent.rule.words,
            **{f"{split}_firing": [asdict(window) for window in latent.firing[split]] for split in SPLITS},
            **{f"{split}_silent": [asdict(window) for window in latent.silent[split]] for split in SPLITS},
        }
        for latent in latents
    ]))  # fmt: skip


def _rows(latent: PlantedLatent) -> Iterator[dict[str, object]]:
    for split in EXEMPLAR_SPLITS:
        by_kind = _by_kind(latent.firing[split]) | {"negative": latent.silent[split]}
        for kind, windows in by_kind.items():
            for rank, window in enumerate(windows):
                yield {
                    "feature": latent.feature,
                    "split": split,
                    "kind": kind,
                    "rank": rank,
                    "quantile": NUM_STRATA - 1 - rank * NUM_STRATA // len(windows)
                    if kind == "quantile"
                    else None,
                    "sequence": int(window.doc_id[:6], 16),
                    "peak": window.peak,
                    **asdict(window),
                }


def _by_kind(firing: Sequence[Window]) -> dict[ExemplarKind, list[Window]]:
    """The strongest; of the rest every fourth at random, the others over the strata."""
    rest = firing[NUM_WINDOWS["top"] :]
    return {
        "top": list(firing[: NUM_WINDOWS["top"]]),
        "random": list(rest[::4]),
        "quantile": [window for place, window in enumerate(rest) if place % 4],
    }


def _stats(latent: PlantedLatent) -> dict[str, object]:
    return {
        "feature": latent.feature,
        "num_active": 1000 + latent.feature,
        "density": 0.001 * (1 + latent.feature),
        "mean": 3.0,
        "max": max(STRENGTHS) * 1.25,
        "histogram": [1000 + latent.feature],
        "top_tokens": list(latent.rule.words),
        "state": "ok",
    }
