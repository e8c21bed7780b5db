"""From tokens to money."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from thresher.labeling.budget.spec import PriceSpec

PER = 1_000_000


@dataclass(frozen=True)
class Usage:
    """Tokens of one or more requests; cached ones are among those of the prompt."""

    num_prompt_tokens: int = 0
    num_completion_tokens: int = 0
    num_cached_tokens: int = 0

    @property
    def num_tokens(self) -> int:
        return self.num_prompt_tokens + self.num_completion_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.num_prompt_tokens + other.num_prompt_tokens,
            self.num_completion_tokens + other.num_completion_tokens,
            self.num_cached_tokens + other.num_cached_tokens,
        )


@dataclass(frozen=True)
class Charge:
    """Tokens, and what they cost; a cost of None where the model has no price."""

    num_tokens: int = 0
    cost: float | None = 0.0

    def __add__(self, other: "Charge") -> "Charge":
        cost = None if self.cost is None or other.cost is None else self.cost + other.cost
        return Charge(self.num_tokens + other.num_tokens, cost)


class PriceTable:
    """Prices by model."""

    def __init__(self, prices: Mapping[str, PriceSpec]) -> None:
        self._prices = dict(prices)

    @classmethod
    def empty(cls) -> Self:
        return cls({})

    def charge(self, model: str, usage: Usage) -> Charge:
        """What a model's tokens cost."""
        return Charge(usage.num_tokens, self._cost(model, usage))

    def _cost(self, model: str, usage: Usage) -> float | None:
        price = self._prices.get(model)
        if price is None:
            return None if usage.num_tokens else 0.0
        cached = price.prompt if price.cached_prompt is None else price.cached_prompt
        num_fresh = usage.num_prompt_tokens - usage.num_cached_tokens
        return (
            num_fresh * price.prompt
            + usage.num_cached_tokens * cached
            + usage.num_completion_tokens * price.completion
        ) / PER
