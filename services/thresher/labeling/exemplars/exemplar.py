"""A run of tokens with a feature's activation on each.

Shapes: C tokens of a context.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from thresher.contracts.exemplars import ExemplarKind
from thresher.contracts.ids import canonical_json, sha256_hex


@dataclass(frozen=True)
class Exemplar:
    """A short run of tokens of one document, with a feature's activation on each."""

    kind: ExemplarKind
    rank: int
    quantile: int | None
    doc_id: str
    sequence: int
    start: int
    tokens: tuple[str, ...]
    activations_C: npt.NDArray[np.float32]

    @property
    def text(self) -> str:
        return "".join(self.tokens)

    def crop(self, num_tokens: int, seed: int) -> "Exemplar":
        """At most `num_tokens` tokens with the peak among them.

        Where the peak falls is drawn from the seed and the exemplar's place: were it always in the middle, its
        position would give the activation away.
        """
        spare = len(self.tokens) - num_tokens
        if spare <= 0:
            return self
        peak = int(np.argmax(self.activations_C))
        first, last = max(0, peak - num_tokens + 1), min(peak, spare)
        offset = int(np.random.default_rng([seed, self.sequence, self.start]).integers(first, last + 1))
        stop = offset + num_tokens
        return replace(
            self,
            start=self.start + offset,
            tokens=self.tokens[offset:stop],
            activations_C=self.activations_C[offset:stop],
        )


def sample_sha256(contexts: Sequence[Exemplar]) -> str:
    """Content address of the exemplars shown: their places, lengths and activations."""
    parts = [
        [item.doc_id, item.sequence, item.start, [float(value) for value in item.activations_C]]
        for item in contexts
    ]
    return sha256_hex(canonical_json(parts).encode())
