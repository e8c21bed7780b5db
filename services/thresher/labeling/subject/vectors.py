"""The vectors of the features that are worked on, of a dictionary that is read once, when the first is needed.

Shapes: N rows, D width of the input, E width of the output, F latents, W latents that are kept.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property

import torch

from thresher.latents.encoder import SparseEncoder
from thresher.latents.site_encoder import encoder_at_site
from thresher.latents.weights import load_encoder
from thresher.storage import ObjectStore


class FeatureVectors:
    """Decoder vectors, and activations on rows as the model gives them.

    Args:
        reference: of the dictionary, name@version.
        site: whose rows are read.
    """

    def __init__(self, store: ObjectStore, reference: str, site: str) -> None:
        self._store, self._reference, self._site = store, reference, site
        self._wanted: set[int] = set()

    def want(self, features: Iterable[int]) -> None:
        """Keep these too. All are named before the first is asked for."""
        assert "_kept" not in vars(self), "the dictionary is read already"
        self._wanted.update(features)

    def vector(self, feature: int) -> torch.Tensor:
        """vector_E of a feature that is wanted, as the decoder adds it."""
        return self._kept.W_dec_FE[self._place[feature]]

    def activations(self, x_ND: torch.Tensor, feature: int) -> torch.Tensor:
        """activation_N of a feature that is wanted; 0 where it does not fire."""
        codes = self._kept.encode(x_ND)
        is_mine_K = codes.latents == self._place[feature]
        activation_N = torch.zeros(len(x_ND))
        activation_N[codes.row_of_code()[is_mine_K]] = codes.values[is_mine_K]
        return activation_N

    @cached_property
    def _place(self) -> dict[int, int]:
        """From a feature to its latent among those that are kept."""
        if self._kept.k is not None:
            return {feature: feature for feature in self._wanted}
        return {feature: place for place, feature in enumerate(sorted(self._wanted))}

    @cached_property
    def _kept(self) -> SparseEncoder:
        """Of the wanted features alone, but for TopK: there each latent competes with all others."""
        found, dictionary = load_encoder(self._store, self._reference)
        is_read = dictionary.target.input_of(self._site) is not None
        encoder = encoder_at_site(found, dictionary, self._site) if is_read else found
        if encoder.k is not None:
            return encoder
        features_W = torch.tensor(sorted(self._wanted), dtype=torch.long)
        return replace(
            encoder,
            W_enc_DF=encoder.W_enc_DF[:, features_W].contiguous(),
            b_enc_F=encoder.b_enc_F[features_W],
            W_dec_FE=encoder.W_dec_FE[features_W],
            threshold_F=encoder.threshold_F[features_W],
        )
