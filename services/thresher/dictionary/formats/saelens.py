"""SAELens folders: cfg.json and sae_weights.safetensors, of versions 3 to 6.

Shape suffixes: D width of the input, E width of the output, F latents.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from thresher.contracts.errors import SpecError
from thresher.dictionary.formats.foreign import ForeignDictionary, stated
from thresher.dictionary.formats.outgoing import OutgoingDictionary
from thresher.dictionary.formats.rewriting import gated_as_jumprelu, with_decoder_norms_in_codes
from thresher.dictionary.formats.source_folder import SourceFolder
from thresher.dictionary.formats.tensor_table import TensorTable, read_safetensors
from thresher.dictionary.hook_names import site_of_hook
from thresher.latents.encoder import SparseEncoder
from thresher.latents.folder_config import OWN_ARCHITECTURES
from thresher.latents.weights import CONFIG_FILE, WEIGHTS_FILE

Config = Mapping[str, Any]

TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")
REFUSED = {
    "abstopk": "its codes may be negative",
    "matching_pursuit": "its codes come from many passes over the residual",
    "temporal": "its codes depend on earlier tokens",
}
NORMALISED_BY_ROW = ("layer_norm", "constant_norm_rescale")


def read_saelens(folder: SourceFolder) -> ForeignDictionary:
    """Read a folder that SAELens saved, for inference or as a checkpoint of its training.

    Raises:
        SpecError: its architecture or its normalisation has no equal here, or its files are damaged.
    """
    config = folder.read_json(CONFIG_FILE)
    architecture = _architecture(folder, config)
    _check_input(folder, config)
    table = read_safetensors(folder, WEIGHTS_FILE)
    encoder = READERS[architecture](config, table)
    table.check_empty()
    metadata = config.get("metadata", {})
    about = {
        **config,
        **(metadata if isinstance(metadata, dict) else {}),
    }  # before version 6 it lay at the top
    hook, k = about.get("hook_name", about.get("hook_point")), config.get("k")
    return ForeignDictionary(
        encoder=encoder,
        architecture=architecture,
        kind="transcoder" if architecture in TRANSCODERS else "autoencoder",
        site=site_of_hook(stated(hook, str)),
        output_site=site_of_hook(stated(about.get("hook_name_out"), str)),
        model_name=stated(about.get("model_name"), str),
        context_size=stated(about.get("context_size"), int),
        prepend_bos=stated(about.get("prepend_bos"), bool),
        k=round(k) if isinstance(k, int | float) and math.isfinite(k) else None,
        expects_scaled_input=_normalisation(config) == "expected_average_only_in",
    )


def write_saelens(dictionary: OutgoingDictionary) -> dict[str, bytes]:
    """The folder as it is stored.

    Raises:
        SpecError: SAELens has no such architecture.
    """
    if dictionary.config.architecture in OWN_ARCHITECTURES:
        raise SpecError(
            "--format",
            "saelens",
            allowed=["thresher"],
            mend=f"SAELens has no architecture for {dictionary.config.architecture}: export in thresher's own format.",
        )
    return dict(dictionary.files)


def _architecture(folder: SourceFolder, config: Config) -> str:
    found = str(config.get("architecture", "standard"))  # configs before version 3.7 name none
    activation = config.get("activation_fn_str", config.get("activation_fn", "relu"))  # as before version 6
    if activation not in ("relu", "topk"):
        raise folder.fault(CONFIG_FILE, f"Its activation {activation!r} has no equal here.", ["relu", "topk"])
    if activation == "topk":
        return "topk"
    if found in REFUSED:
        raise folder.fault(
            CONFIG_FILE,
            f"A dictionary of architecture {found} cannot be imported: {REFUSED[found]}.",
            [*READERS],
        )
    if found not in READERS:
        raise folder.fault(CONFIG_FILE, f"Its architecture {found!r} is unknown.", [*READERS])
    return found


def _normalisation(config: Config) -> str:
    found = config.get("normalize_activations")
    if isinstance(found, bool):  # as in configs before version 3
        return "expected_average_only_in" if found else "none"
    return str(found or "none")


def _check_input(folder: SourceFolder, config: Config) -> None:
    found = _normalisation(config)
    if found in NORMALISED_BY_ROW:
        mend = f"It normalises each row by itself ({found}), which weights alone cannot express."
        raise folder.fault(CONFIG_FILE, mend)
    if found == "covariance_whitening":
        mend = (
            "It reads whitened rows, and the folder holds no whitening: let SAELens fold it, then save again."
        )
        raise folder.fault(CONFIG_FILE, mend)
    if found not in ("none", "expected_average_only_in"):
        raise folder.fault(CONFIG_FILE, f"Its normalize_activations {found!r} is unknown.")


def _width(config: Config, key: str, table: TensorTable, tensor: str, axis: int) -> int:
    width = table.shape(tensor, 2)[axis]
    if config.get(key, width) != width:
        raise table.fault(
            f"{tensor} has the shape {table.shape(tensor, 2)}, but cfg.json says {key} {config[key]}."
        )
    return width


def _base(config: Config, table: TensorTable, **form: Any) -> SparseEncoder:
    """Everything but the threshold; b_enc is left 0 where there is none."""
    d_in, num_latents = _width(config, "d_in", table, "W_enc", 0), _width(config, "d_sae", table, "W_enc", 1)
    d_out = _width(config, "d_out", table, "W_dec", 1)
    if "scaling_factor" in table.names:
        _check_ones(table, num_latents)
    has_bias = "b_enc" in table.names
    return SparseEncoder(
        W_enc_DF=table.take("W_enc", d_in, num_latents),
        b_enc_F=table.take("b_enc", num_latents) if has_bias else torch.zeros(num_latents),
        W_dec_FE=table.take("W_dec", num_latents, d_out),
        b_dec_E=table.take("b_dec", d_out),
        threshold_F=torch.zeros(num_latents),
        centres_input=bool(config.get("apply_b_dec_to_input", True)),
        **form,
    )


def _check_ones(table: TensorTable, num_latents: int) -> None:
    if not bool((table.take("scaling_factor", num_latents) == 1).all()):
        raise table.fault("It holds a scaling_factor, which SAELens 6 no longer reads either.")


def _standard(config: Config, table: TensorTable) -> SparseEncoder:
    return _base(config, table)


def _topk(config: Config, table: TensorTable) -> SparseEncoder:
    k = config.get("k", config.get("activation_fn_kwargs", {}).get("k"))
    if not isinstance(k, int) or not 0 < k <= table.shape("W_enc", 2)[1]:
        raise table.fault(f"cfg.json says k {k!r}, which is no number of its latents.")
    encoder = _base(config, table, k=k)
    if config.get("rescale_acts_by_decoder_norm", False):
        return with_decoder_norms_in_codes(encoder, scale_threshold=False)
    return encoder


def _jumprelu(config: Config, table: TensorTable) -> SparseEncoder:
    encoder = _base(config, table)
    return replace(encoder, threshold_F=table.take("threshold", encoder.num_latents))


def _batch_topk(config: Config, table: TensorTable) -> SparseEncoder:
    """A checkpoint of training; for inference SAELens itself saves jumprelu. The threshold is one of rescaled codes."""
    encoder = _base(config, table)
    threshold_F = table.take("topk_threshold").expand(encoder.num_latents).contiguous()
    if config.get("rescale_acts_by_decoder_norm", True):
        encoder = with_decoder_norms_in_codes(encoder, scale_threshold=False)
    return replace(encoder, threshold_F=threshold_F)


def _gated(config: Config, table: TensorTable) -> SparseEncoder:
    encoder = _base(config, table)
    r_mag_F, b_mag_F, b_gate_F = (
        table.take(name, encoder.num_latents) for name in ("r_mag", "b_mag", "b_gate")
    )
    return gated_as_jumprelu(encoder, r_mag_F, b_mag_F, b_gate_F)


def _transcoder(config: Config, table: TensorTable) -> SparseEncoder:
    encoder = _base({**config, "apply_b_dec_to_input": False}, table)
    architecture = str(config.get("architecture"))
    if "skip" in architecture:
        skip_ED = table.take("W_skip", encoder.d_out, encoder.d_in)
        encoder = replace(encoder, W_skip_DE=skip_ED.T.contiguous())
    if "jumprelu" in architecture:
        encoder = replace(encoder, threshold_F=table.take("threshold", encoder.num_latents))
    return encoder


READERS: dict[str, Callable[[Config, TensorTable], SparseEncoder]] = {
    "standard": _standard,
    "topk": _topk,
    "jumprelu": _jumprelu,
    "gated": _gated,
    "batchtopk": _batch_topk,
    "matryoshka_batchtopk": _batch_topk,
    **dict.fromkeys(TRANSCODERS, _transcoder),
}
"""By architecture."""
