"""Dictionaries that one grid made."""

from typing import Any

from thresher.contracts.manifests.harvest import DictionaryRef
from thresher.contracts.manifests.record import FileEntry, Record


class SweepManifest(Record):
    sweep_id: str
    spec: dict[str, Any]
    dictionaries: list[DictionaryRef]
    """In the order of the grid; each has a manifest of its own."""
    files: list[FileEntry]
    """The comparison, as a table and as a plot."""
    code_version: str
