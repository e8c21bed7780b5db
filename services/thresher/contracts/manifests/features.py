"""Statistics and exemplars of the features of a dictionary."""

from typing import Any

from thresher.contracts.manifests.corpus import SplitName
from thresher.contracts.manifests.harvest import DictionaryRef
from thresher.contracts.manifests.record import FileEntry, Record


class FeaturesManifest(Record):
    features_id: str
    spec: dict[str, Any]
    dictionary: DictionaryRef
    corpus_id: str
    harvest_id: str
    """The sparse harvest that the statistics were made from."""
    site: str
    num_latents: int
    num_rows: dict[SplitName, int]
    """By split of the corpus."""
    stats: FileEntry
    exemplars: list[FileEntry]
    output_tokens: FileEntry | None = None
    """What the features do to the model's output, if it was computed."""
    code_version: str
