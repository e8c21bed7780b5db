"""Gemma Scope's folders: params.npz, or params.safetensors of Gemma Scope 2; autoencoders and transcoders.

Both read rows as they are and have JumpReLU thresholds (Lieberum et al. 2024, section 2). A folder does not say which
of the two it holds, nor of which site: its path does.
"""

import re

from thresher.dictionary.formats.foreign import ForeignDictionary
from thresher.dictionary.formats.source_folder import SourceFolder
from thresher.dictionary.formats.tensor_table import read_npz, read_safetensors
from thresher.latents.encoder import SparseEncoder

NPZ_FILE, SAFETENSORS_FILE = "params.npz", "params.safetensors"
SKIP = "affine_skip_connection"


def read_gemma_scope(folder: SourceFolder) -> ForeignDictionary:
    """Read the parameters. It is a transcoder if its path says so, or if it has a skip connection.

    Raises:
        SpecError: an array is absent, of another shape, not finite or a pickle.
    """
    table = (
        read_safetensors(folder, SAFETENSORS_FILE)
        if folder.has(SAFETENSORS_FILE)
        else read_npz(folder, NPZ_FILE)
    )
    capital = "W_enc" in table.names
    encode, decode = ("W_enc", "W_dec") if capital else ("w_enc", "w_dec")
    (d_in, num_latents), d_out = table.shape(encode, 2), table.shape(decode, 2)[1]
    has_skip = SKIP in table.names
    encoder = SparseEncoder(
        W_enc_DF=table.take(encode, d_in, num_latents),
        b_enc_F=table.take("b_enc", num_latents),
        W_dec_FE=table.take(decode, num_latents, d_out),
        b_dec_E=table.take("b_dec", d_out),
        threshold_F=table.take("threshold", num_latents),
        W_skip_DE=table.take(SKIP, d_in, d_out) if has_skip else None,
        centres_input=False,
    )
    table.check_empty()
    is_transcoder = has_skip or d_in != d_out or "transcoder" in folder.path.lower()
    return ForeignDictionary(
        encoder=encoder,
        architecture="jumprelu_transcoder" if is_transcoder else "jumprelu",
        kind="transcoder" if is_transcoder else "autoencoder",
        site=None if is_transcoder else _site(folder.path),
    )


def _site(path: str) -> str | None:
    """What the path of a release names, as in gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71."""
    layer = re.search(r"layer_(\d+)", path)
    kinds = {"-res": "resid_post", "resid_post": "resid_post", "-mlp": "mlp_out", "mlp_out": "mlp_out"}
    kind = next((kind for mark, kind in kinds.items() if mark in path), None)
    return f"{kind}.{layer[1]}" if layer and kind else None
