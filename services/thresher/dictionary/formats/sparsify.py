"""sparsify's folders: HOOKPOINT/cfg.json and HOOKPOINT/sae.safetensors, TopK autoencoders and transcoders.

Shape suffixes: D width of the input, E width of the output, F latents.
"""

import json
import re
from typing import Any

import torch
from safetensors.torch import save

from thresher.contracts.errors import SpecError
from thresher.dictionary.formats.foreign import ForeignDictionary
from thresher.dictionary.formats.outgoing import OutgoingDictionary
from thresher.dictionary.formats.rewriting import centred, uncentred
from thresher.dictionary.formats.source_folder import SourceFolder
from thresher.dictionary.formats.tensor_table import TensorTable, read_safetensors
from thresher.latents.encoder import SparseEncoder
from thresher.latents.weights import CONFIG_FILE

SPARSIFY_WEIGHTS_FILE = "sae.safetensors"
HOOKPOINTS = {
    "resid_post": "layers.{layer}",
    "mlp_out": "layers.{layer}.mlp",
    "attn_out": "layers.{layer}.self_attn",
}
"""Modules of transformers that a kind of site is the output of; a transcoder is called by its output."""
UNIT_NORM_TOLERANCE = 1e-4


def read_sparsify(folder: SourceFolder) -> ForeignDictionary:
    """Read the folder of one hookpoint.

    Raises:
        SpecError: its activation is not topk, or its files are damaged.
    """
    config = folder.read_json(CONFIG_FILE)
    if config.get("activation", "topk") != "topk" or config.get("signed", False):
        mend = f"Its activation {config.get('activation')!r} has no equal here."
        raise folder.fault(CONFIG_FILE, mend, ["topk, not signed"])
    table = read_safetensors(folder, SPARSIFY_WEIGHTS_FILE)
    encoder = _encoder(config, table)
    table.check_empty()
    is_transcoder = bool(config.get("transcode", False)) or encoder.W_skip_DE is not None
    if is_transcoder:
        encoder = uncentred(encoder)
    site = _site(folder.name)
    return ForeignDictionary(
        encoder=encoder,
        architecture="transcoder" if is_transcoder else "topk",
        kind="transcoder" if is_transcoder else "autoencoder",
        site=None if is_transcoder else site,
        output_site=site if is_transcoder else None,
    )


def write_sparsify(dictionary: OutgoingDictionary) -> dict[str, bytes]:
    """Files of a folder that sparsify's `SparseCoder.load_from_disk(DIR/HOOKPOINT)` loads.

    Raises:
        SpecError: the dictionary is not of the TopK form, is a crosscoder, or has other widths than sparsify allows.
    """
    encoder, kind = dictionary.encoder, dictionary.config.kind
    _check_expressible(encoder, kind)
    if kind == "autoencoder":
        encoder = centred(encoder)
    norms_F = encoder.W_dec_FE.norm(dim=1)
    config = {
        "activation": "topk",
        "d_in": encoder.d_in,
        "expansion_factor": max(1, encoder.num_latents // encoder.d_in),
        "k": encoder.k,
        "multi_topk": False,
        "normalize_decoder": bool((norms_F - 1).abs().max() < UNIT_NORM_TOLERANCE),
        "num_latents": encoder.num_latents,
        "skip_connection": encoder.W_skip_DE is not None,
        "transcode": kind == "transcoder",
    }
    tensors = {
        "encoder.weight": encoder.W_enc_DF.T,
        "encoder.bias": encoder.b_enc_F,
        "W_dec": encoder.W_dec_FE,
        "b_dec": encoder.b_dec_E,
    }
    if encoder.W_skip_DE is not None:
        tensors["W_skip"] = encoder.W_skip_DE.T
    site = dictionary.manifest.target.outputs[0].site
    hookpoint = hookpoint_of(site)
    return {
        f"{hookpoint}/{CONFIG_FILE}": (json.dumps(config, indent=2, sort_keys=True) + "\n").encode(),
        f"{hookpoint}/{SPARSIFY_WEIGHTS_FILE}": bytes(
            save({name: tensor.contiguous() for name, tensor in tensors.items()})
        ),
    }


def hookpoint_of(site: str) -> str:
    """The module of transformers whose output a site is; other sites keep their name."""
    kind, _, layer = site.partition(".")
    return HOOKPOINTS.get(kind, site).format(layer=layer)


def _check_expressible(encoder: SparseEncoder, kind: str) -> None:
    if kind == "crosscoder":
        raise SpecError("--format", "sparsify", allowed=["thresher"], mend="sparsify has no crosscoders.")
    if encoder.k is None:
        raise SpecError(
            "--format",
            "sparsify",
            allowed=["saelens", "dictionary_learning", "thresher"],
            mend="sparsify has TopK alone, and this dictionary has thresholds (JumpReLU form). Fit one of architecture "
            "topk, or export in a format that has thresholds.",
        )
    if encoder.d_in != encoder.d_out:
        raise SpecError(
            "--format",
            "sparsify",
            allowed=["thresher"],
            mend=f"sparsify's transcoders write as many values as they read; this one reads {encoder.d_in} and writes "
            f"{encoder.d_out}.",
        )


def _encoder(config: dict[str, Any], table: TensorTable) -> SparseEncoder:
    num_latents, d_in = table.shape("encoder.weight", 2)
    stated = config.get("num_latents") or d_in * int(config.get("expansion_factor", 0))
    if (config.get("d_in"), stated) != (d_in, num_latents):
        raise table.fault(
            f"encoder.weight has the shape {(num_latents, d_in)}, but cfg.json says {stated} latents of "
            f"{config.get('d_in')} values."
        )
    k = config.get("k")
    if not isinstance(k, int) or not 0 < k <= num_latents:
        raise table.fault(f"cfg.json says k {k!r}, which is no number of its {num_latents} latents.")
    skip_ED = table.take("W_skip", d_in, d_in) if config.get("skip_connection", False) else None
    return SparseEncoder(
        W_enc_DF=table.take("encoder.weight", num_latents, d_in).T.contiguous(),
        b_enc_F=table.take("encoder.bias", num_latents),
        W_dec_FE=table.take("W_dec", num_latents, d_in),
        b_dec_E=table.take("b_dec", d_in),
        threshold_F=torch.zeros(num_latents),
        k=k,
        W_skip_DE=None if skip_ED is None else skip_ED.T.contiguous(),
        centres_input=not config.get("transcode", False),
    )


def _site(hookpoint: str) -> str | None:
    for kind, pattern in HOOKPOINTS.items():
        match = re.fullmatch(re.escape(pattern).replace(r"\{layer\}", r"(\d+)"), hookpoint)
        if match is not None:
            return f"{kind}.{match[1]}"
    return None
