"""Which models a server says it serves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from thresher.labeling.endpoints.answers import MalformedAnswerError, parse_json


@dataclass(frozen=True)
class ModelCard:
    """A line of GET /models.

    Args:
        max_model_len: longest sequence in tokens, where the server says so (vLLM does).
        root: what the server loaded under the name, where it says so (vLLM does: a folder or a repository).
    """

    name: str
    max_model_len: int | None
    root: str | None


def parse_models(data: bytes) -> dict[str, ModelCard]:
    """Raises: MalformedAnswerError."""
    body = parse_json(data)
    listed = body.get("data") if isinstance(body, dict) else None
    if not isinstance(listed, list):
        raise MalformedAnswerError("no list of models; does base_url end in /v1?")
    cards = [_card(item) for item in listed if isinstance(item, dict) and isinstance(item.get("id"), str)]
    return {card.name: card for card in cards}


def common_models(served: Sequence[dict[str, ModelCard]]) -> dict[str, ModelCard]:
    """What all servers serve; the shortest sequence of each, and a root where they name the same."""
    names = set.intersection(*(set(models) for models in served))
    return {name: _common([models[name] for models in served]) for name in sorted(names)}


def _common(cards: Sequence[ModelCard]) -> ModelCard:
    lengths = [card.max_model_len for card in cards if card.max_model_len is not None]
    roots = {card.root for card in cards}
    return ModelCard(cards[0].name, min(lengths, default=None), roots.pop() if len(roots) == 1 else None)


def _card(item: dict[str, Any]) -> ModelCard:
    length, root = item.get("max_model_len"), item.get("root")
    is_length = isinstance(length, int) and not isinstance(length, bool) and length > 0
    return ModelCard(item["id"], length if is_length else None, root if isinstance(root, str) else None)
