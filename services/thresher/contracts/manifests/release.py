"""A labelled dictionary for others to pull."""

from typing import Literal

from thresher.contracts.manifests.record import FileEntry, Record

ReleaseGroup = Literal["dictionary", "features", "exemplars", "labels", "about"]


class ReleaseFile(FileEntry):
    path: str
    """Where the file goes in the pulled folder."""
    group: ReleaseGroup
    """What a partial pull picks by."""


class ReleaseManifest(Record):
    name: str
    version: str
    release_id: str
    files: list[ReleaseFile]
    lineage: dict[str, str]
    """Ids of the corpus, harvests, fit, features and label run that the release came from."""
    code_version: str
