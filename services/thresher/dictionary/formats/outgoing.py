"""A dictionary on its way out: what a writer of another tool's format needs of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from thresher.contracts.manifests import DictionaryManifest
from thresher.latents.encoder import SparseEncoder
from thresher.latents.folder_config import FolderConfig, parse_config
from thresher.latents.weights import CONFIG_FILE, WEIGHTS_FILE, parse_weights


@dataclass(frozen=True)
class OutgoingDictionary:
    """A stored dictionary, its files verified."""

    manifest: DictionaryManifest
    files: Mapping[str, bytes]
    """cfg.json and sae_weights.safetensors."""

    @cached_property
    def config(self) -> FolderConfig:
        return parse_config(self.files[CONFIG_FILE])

    @cached_property
    def encoder(self) -> SparseEncoder:
        return parse_weights(self.files[CONFIG_FILE], self.files[WEIGHTS_FILE], str(self.manifest.ref()))
