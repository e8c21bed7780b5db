"""Links between the labels of a dictionary, and their families."""

from typing import Any

from thresher.contracts.manifests.harvest import DictionaryRef
from thresher.contracts.manifests.record import FileEntry, Record


class FamiliesManifest(Record):
    families_id: str
    spec: dict[str, Any]
    dictionary: DictionaryRef
    corpus_id: str
    features_id: str
    """Whose exemplars say which features fire together."""
    run_ids: list[str]
    """Runs that the labels are of."""
    labels_sha256: str
    """Of the features and their labels' ids, in order."""
    num_labels: int
    num_families: int
    num_in_families: int
    """Labels that belong to one."""
    num_links: dict[str, int]
    """By kind."""
    links: FileEntry
    families: FileEntry
    code_version: str
