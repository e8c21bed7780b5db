"""What the subject model is asked, as the ledger knows it. Nothing here needs the model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec

MAX_TEXT_TOKENS = 256
"""Of a text of ours, what stands before it included; what is behind is not read. Every model takes so many."""
MAX_QUESTION_TOKENS = 128
"""More than the question to decode a vector takes with any model's chat template."""


@dataclass(frozen=True)
class Patch:
    """Which vector goes in place of a word.

    Args:
        dictionary_sha256: of the weights it is from, so that answers of one dictionary are never another's.
        layer: whose input is patched.
        scale: its length, in mean lengths of the rows around it.
    """

    dictionary_sha256: str
    feature: int
    layer: int
    scale: float


@dataclass(frozen=True)
class Ground:
    """Where features are read or added, and how a text begins, as the corpus of the features has it.

    Args:
        dictionary_sha256: as in a patch.
        tokenizer_sha256: of the subject, whose revision is that of its weights alone.
        site: of the rows.
        first_token_id: what every sequence of the corpus begins with, or None where texts begin it.
        min_position: the first position that counts; those before are attention sinks.
    """

    dictionary_sha256: str
    tokenizer_sha256: str
    site: str
    first_token_id: int | None
    min_position: int


@dataclass(frozen=True)
class SteeringTerms:
    """How a text is steered.

    Args:
        strength: length of what is added, in mean lengths of the prompt's rows.
        max_tokens: that follow the prompt.
    """

    strength: float
    max_tokens: int


def patch_request(
    endpoint: EndpointSpec, prompt: Sequence[str], patch: Patch, max_tokens: int
) -> ModelRequest:
    """What a vector means, by a question and the beginning of its answer."""
    return ModelRequest(
        purpose="explain",
        model=endpoint.model,
        revision=endpoint.revision,
        body={
            "model": endpoint.model,
            "prompt": list(prompt),
            "patch": asdict(patch),
            "max_tokens": max_tokens,
            "temperature": 0,
        },
        max_total_tokens=MAX_QUESTION_TOKENS + max_tokens,
    )


def firing_request(
    endpoint: EndpointSpec, purpose: str, ground: Ground, feature: int, texts: Sequence[str]
) -> ModelRequest:
    """The largest activation of a feature on each text."""
    return ModelRequest(
        purpose=purpose,
        model=endpoint.model,
        revision=endpoint.revision,
        body={
            "model": endpoint.model,
            "firing": {**asdict(ground), "feature": feature},
            "texts": list(texts),
        },
        max_total_tokens=sum(map(most_tokens, texts)),
    )


def steering_request(
    endpoint: EndpointSpec,
    purpose: str,
    ground: Ground,
    feature: int,
    terms: SteeringTerms,
    prompt: str,
) -> ModelRequest:
    """How a prompt goes on with a feature's vector added."""
    return ModelRequest(
        purpose=purpose,
        model=endpoint.model,
        revision=endpoint.revision,
        body={
            "model": endpoint.model,
            "steering": {**asdict(ground), "feature": feature, "strength": terms.strength},
            "prompt": prompt,
            "max_tokens": terms.max_tokens,
            "temperature": 0,
        },
        max_total_tokens=most_tokens(prompt) + terms.max_tokens,
    )


def most_tokens(text: str) -> int:
    """A token holds a byte at least."""
    return min(len(text.encode()) + 1, MAX_TEXT_TOKENS)
