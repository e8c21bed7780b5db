"""Dictionaries on disk: cfg.json and sae_weights.safetensors, which SAELens >= 6 reads where it has the architecture.

Shape suffixes: D width of the input, E width of the output, F latents.
"""

import hashlib
from collections.abc import Mapping

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import DictionaryManifest
from thresher.contracts.names import parse_reference
from thresher.latents.encoder import SparseEncoder
from thresher.latents.folder_config import SKIP_TRANSCODER, TOPK_TRANSCODER, FolderConfig, parse_config
from thresher.storage import ObjectStore
from thresher.storage.artifacts import read_record

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
SKIP = "W_skip"


def weights_safetensors(encoder: SparseEncoder) -> bytes:
    """sae_weights.safetensors."""
    tensors = {
        "W_enc": encoder.W_enc_DF,
        "b_enc": encoder.b_enc_F,
        "W_dec": encoder.W_dec_FE,
        "b_dec": encoder.b_dec_E,
    }
    if encoder.k is None:
        tensors["threshold"] = encoder.threshold_F
    if encoder.W_skip_DE is not None:
        tensors[SKIP] = encoder.W_skip_DE.T  # SAELens multiplies by its transpose
    return bytes(save({name: tensor.cpu().float().contiguous() for name, tensor in tensors.items()}))


def parse_weights(config: bytes, weights: bytes, where: str) -> SparseEncoder:
    """The encoder held by the two files.

    Args:
        config: cfg.json.
        weights: sae_weights.safetensors.
        where: names the files in errors.

    Raises:
        IntegrityError: they are damaged, of an unknown architecture, do not fit each other, or hold numbers that are
            not finite.
    """
    try:
        stated = parse_config(config)
        tensors = load(weights)
        _check_tensors(stated, tensors)
    except (ValueError, SafetensorError) as error:
        raise IntegrityError(f"{where} holds no dictionary ({error}): pull or make it again.") from error
    skip = tensors.get(SKIP)
    return SparseEncoder(
        W_enc_DF=tensors["W_enc"],
        b_enc_F=tensors["b_enc"],
        W_dec_FE=tensors["W_dec"],
        b_dec_E=tensors["b_dec"],
        threshold_F=tensors.get("threshold", torch.zeros(stated.num_latents)),
        k=stated.k,
        W_skip_DE=None if skip is None else skip.T.contiguous(),
        centres_input=stated.centres_input,
    )


def _check_tensors(config: FolderConfig, tensors: Mapping[str, torch.Tensor]) -> None:
    shapes = config.tensor_shapes
    if config.architecture == SKIP_TRANSCODER or (config.architecture == TOPK_TRANSCODER and SKIP in tensors):
        shapes[SKIP] = (config.d_out, config.d_in)
    if tensors.keys() != shapes.keys():
        raise ValueError(f"{WEIGHTS_FILE} holds {sorted(tensors)}, {CONFIG_FILE} asks for {sorted(shapes)}")
    for name, shape in shapes.items():
        found = tensors[name]
        if found.dtype != torch.float32 or tuple(found.shape) != shape:
            raise ValueError(
                f"{name} is {found.dtype} of shape {tuple(found.shape)}, should be float32 of {shape}"
            )
        if not bool(found.isfinite().all()):
            raise ValueError(f"{name} holds numbers that are not finite")


def load_encoder(store: ObjectStore, reference: str) -> tuple[SparseEncoder, DictionaryManifest]:
    """Load a dictionary by `name@version`, its files verified against its manifest.

    Raises:
        SpecError: the reference is not of that form.
        MissingArtifactError: there is no such dictionary.
        IntegrityError: its files are not what its manifest says.
    """
    manifest = read_dictionary(store, reference)
    files = read_folder(store, manifest)
    encoder = parse_weights(files[CONFIG_FILE], files[WEIGHTS_FILE], f"{store.url}/{reference}")
    return encoder, manifest


def read_folder(store: ObjectStore, manifest: DictionaryManifest) -> dict[str, bytes]:
    """cfg.json and sae_weights.safetensors of a dictionary, verified against its manifest.

    Raises:
        IntegrityError: they are not what the manifest says.
    """
    data = {}
    for entry in manifest.files:
        file = entry.key.rsplit("/", 1)[-1]
        if file in (CONFIG_FILE, WEIGHTS_FILE):
            data[file] = store.get(entry.key)
            if hashlib.sha256(data[file]).hexdigest() != entry.sha256:
                raise IntegrityError(f"{store.url}/{entry.key}: sha256 differs from its manifest.")
    return data


def read_dictionary(store: ObjectStore, reference: str) -> DictionaryManifest:
    """The manifest of a dictionary by `name@version`; raises as load_encoder does."""
    name, version = parse_reference("dictionary", reference)
    return read_record(store, paths.manifest(paths.dictionary(name, version)), DictionaryManifest)
