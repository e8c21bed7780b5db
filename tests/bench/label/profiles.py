"""How fast the scripted server is. Orders of magnitude of served models, not measurements of any."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """Latency of a request: its prompt's turn at the prefill, the first token's own time, then a time a token."""

    prefill_tokens_per_s: float
    first_token_s: float
    next_token_s: float
    slots: int


PROFILES = {
    "large": Profile(prefill_tokens_per_s=8_000, first_token_s=0.15, next_token_s=0.03, slots=64),
    "small": Profile(prefill_tokens_per_s=40_000, first_token_s=0.04, next_token_s=0.01, slots=128),
}
"""A model of some 70 billion parameters over a node's GPUs, one of some 8 billion on one."""
