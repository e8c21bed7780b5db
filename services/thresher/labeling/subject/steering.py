"""How the model goes on with a prompt when a feature is added to its stream.

Added at every position but the first, in the prompt and in what follows; there it is as long as in the prompt. The
likeliest token follows each time: the same request has the same answer.
Source: Gur-Arieh et al., Enhancing automated interpretability with output-centric feature descriptions (2025),
section 4; there the strength is searched by the change of the next token, here it is one of the spec.

Shape suffixes: B sequences of a batch, L tokens, E width of the site.
"""

from typing import Any

import torch

from thresher.labeling.subject.lengths import typical_length, unit_vector
from thresher.labeling.subject.local_subject import LoadedSubject, Made
from thresher.labeling.subject.requests import Ground
from thresher.labeling.subject.texts import token_ids
from thresher.labeling.subject.vectors import FeatureVectors


class Steering:
    """Continues one prompt a request."""

    def __init__(self, vectors: FeatureVectors) -> None:
        self._vectors = vectors

    def answer(self, subject: LoadedSubject, body: dict[str, Any]) -> Made:
        asked = dict(body["steering"])
        feature, strength = asked.pop("feature"), asked.pop("strength")
        ground = Ground(**asked)
        ids = token_ids(subject.plain_tokenizer, ground.first_token_id, body["prompt"])
        add = _Adding(self._vectors.vector(feature), strength)
        generated_L = subject.model.generate(torch.tensor(ids), body["max_tokens"], {ground.site: add})
        text = subject.chat_tokenizer.decode(generated_L, skip_special_tokens=True)
        return Made({"choices": [{"index": 0, "text": text}]}, len(ids), len(generated_L))


class _Adding:
    """Adds a vector of the same length to the rows of the prompt, which come first, and to each that follows."""

    def __init__(self, vector_E: torch.Tensor, strength: float) -> None:
        self._direction_E, self._strength = unit_vector(vector_E), strength
        self._added_E: torch.Tensor | None = None

    def __call__(self, y_BLE: torch.Tensor) -> torch.Tensor:
        if self._added_E is not None:
            return y_BLE + self._added_E
        self._added_E = self._strength * typical_length(y_BLE, [0]) * self._direction_E
        steered_BLE = y_BLE.clone()
        steered_BLE[:, 1:] += self._added_E
        return steered_BLE
