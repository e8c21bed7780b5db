"""The encoder of a dictionary for the rows of one of its sites, as they are harvested."""

from dataclasses import replace

from thresher.contracts.manifests import DictionaryManifest
from thresher.latents.encoder import SparseEncoder


def encoder_at_site(encoder: SparseEncoder, dictionary: DictionaryManifest, site: str) -> SparseEncoder:
    """The encoder as it was saved, but for a layer group: there each site's rows are scaled by a factor of its own.

    With x' = s x, W_enc takes s in and what is added to x or reconstructs it is divided by s: codes are those of the
    scaled rows, so that they compare between the sites of the group, and reconstructions are of the rows as harvested.
    """
    found = dictionary.target.input_of(site)
    assert found is not None, "the dictionary reads this site"
    scale = found.input_scale
    if scale == 1.0:
        return encoder
    return replace(
        encoder,
        W_enc_DF=encoder.W_enc_DF * scale,
        W_dec_FE=encoder.W_dec_FE / scale,
        b_dec_E=encoder.b_dec_E / scale,
    )
