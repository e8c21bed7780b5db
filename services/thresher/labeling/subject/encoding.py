"""The largest activation of a feature on each of a few texts.

The rows of the site go through the dictionary's encoder as a harvest's do: scaled, centred and cut at its thresholds.
Positions before the first that counts are left out, as in the statistics of the features.

Shape suffixes: N texts, L tokens of the longest, M rows of all texts, D width of the site.
"""

from typing import Any

import torch

from thresher.labeling.subject.local_subject import LoadedSubject, Made
from thresher.labeling.subject.requests import Ground
from thresher.labeling.subject.texts import padded, token_ids
from thresher.labeling.subject.vectors import FeatureVectors


class Encoding:
    """Reads one feature off the texts of a request."""

    def __init__(self, vectors: FeatureVectors) -> None:
        self._vectors = vectors

    def answer(self, subject: LoadedSubject, body: dict[str, Any]) -> Made:
        asked = dict(body["firing"])
        feature = asked.pop("feature")
        ground = Ground(**asked)
        ids = [token_ids(subject.plain_tokenizer, ground.first_token_id, text) for text in body["texts"]]
        lengths_N = torch.tensor([len(item) for item in ids])
        start = max(ground.min_position, int(ground.first_token_id is not None))
        positions_L = torch.arange(int(lengths_N.max()))
        counts_NL = (positions_L >= start) & (positions_L < lengths_N[:, None])
        x_NLD = subject.model.rows(padded(ids))[ground.site]
        activation_NL = torch.zeros(counts_NL.shape)
        activation_NL[counts_NL] = self._vectors.activations(x_NLD[counts_NL], feature)
        largest = zip(activation_NL.amax(dim=1).tolist(), counts_NL.any(dim=1).tolist(), strict=True)
        # A text of which no position counts says nothing of the feature.
        found = [activation if has_any else None for activation, has_any in largest]
        return Made({"largest_activations": found}, int(lengths_N.sum()))
