"""Dictionaries on disk, in the format that SAELens >= 6 reads: cfg.json and sae_weights.safetensors.

Shape suffixes: D width of the activations, F latents.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import DictionaryManifest
from thresher.contracts.names import parse_reference
from thresher.latents.encoder import SparseEncoder
from thresher.storage import ObjectStore
from thresher.storage.artifacts import read_record

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
ARCHITECTURE = "jumprelu"
FORMAT_VERSION = "6.54.12"  # of SAELens; without one its loader migrates the folder as an old format


def config_json(encoder: SparseEncoder, metadata: Mapping[str, Any]) -> bytes:
    """cfg.json with every key that SAELens requires.

    Args:
        encoder: whose shapes are stated.
        metadata: model_name, hook_name, context_size, prepend_bos, and whatever else should be kept.
    """
    config = {
        "architecture": ARCHITECTURE,
        "d_in": encoder.d_in,
        "d_sae": encoder.num_latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": FORMAT_VERSION, **metadata},
    }
    return (json.dumps(config, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def weights_safetensors(encoder: SparseEncoder) -> bytes:
    """sae_weights.safetensors."""
    tensors = {
        "W_enc": encoder.W_enc_DF,
        "b_enc": encoder.b_enc_F,
        "W_dec": encoder.W_dec_FE,
        "b_dec": encoder.b_dec_E,
        "threshold": encoder.threshold_F,
    }
    return bytes(save({name: tensor.cpu().float().contiguous() for name, tensor in tensors.items()}))


def parse_weights(config: bytes, weights: bytes, where: str) -> SparseEncoder:
    """The encoder held by the two files.

    Args:
        config: cfg.json.
        weights: sae_weights.safetensors.
        where: names the files in errors.

    Raises:
        IntegrityError: they are damaged, of another architecture, or do not fit each other.
    """
    try:
        fields = json.loads(config)
        tensors = load(weights)
        encoder = SparseEncoder(
            W_enc_DF=tensors["W_enc"].float(),
            b_enc_F=tensors["b_enc"].float(),
            W_dec_FE=tensors["W_dec"].float(),
            b_dec_E=tensors["b_dec"].float(),
            threshold_F=tensors["threshold"].float(),
        )
        stated = (fields["architecture"], fields["d_in"], fields["d_sae"], fields["apply_b_dec_to_input"])
    except (ValueError, KeyError, SafetensorError) as error:
        raise IntegrityError(
            f"{where} holds no JumpReLU dictionary ({error}): pull or fit it again."
        ) from error
    if stated != (ARCHITECTURE, encoder.d_in, encoder.num_latents, True):
        raise IntegrityError(f"{where}: {CONFIG_FILE} states {stated}, which does not fit {WEIGHTS_FILE}.")
    return encoder


def load_encoder(store: ObjectStore, reference: str) -> tuple[SparseEncoder, DictionaryManifest]:
    """Load a dictionary by `name@version`, its files verified against its manifest.

    Raises:
        SpecError: the reference is not of that form.
        MissingArtifactError: there is no such dictionary.
        IntegrityError: its files are not what its manifest says.
    """
    manifest = read_dictionary(store, reference)
    data = {}
    for entry in manifest.files:
        file = entry.key.rsplit("/", 1)[-1]
        if file in (CONFIG_FILE, WEIGHTS_FILE):
            data[file] = store.get(entry.key)
            if hashlib.sha256(data[file]).hexdigest() != entry.sha256:
                raise IntegrityError(f"{store.url}/{entry.key}: sha256 differs from its manifest.")
    return parse_weights(data[CONFIG_FILE], data[WEIGHTS_FILE], f"{store.url}/{reference}"), manifest


def read_dictionary(store: ObjectStore, reference: str) -> DictionaryManifest:
    """The manifest of a dictionary by `name@version`; raises as load_encoder does."""
    name, version = parse_reference("dictionary", reference)
    return read_record(store, paths.manifest(paths.dictionary(name, version)), DictionaryManifest)
