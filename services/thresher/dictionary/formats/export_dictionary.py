"""Exports a dictionary to a folder of another tool's format."""

from pathlib import Path

from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.dictionary.formats.known import WRITERS
from thresher.dictionary.formats.outgoing import OutgoingDictionary
from thresher.latents.weights import read_dictionary, read_folder
from thresher.storage import ObjectStore, open_store


def export_dictionary(
    root: str, reference: str, format_name: str, destination: str | None = None
) -> list[str]:
    """Write `name@version` in a format; returns the url of every file.

    Args:
        root: store of the dictionary.
        reference: name@version.
        format_name: one of the formats that can be written.
        destination: folder, file:///folder or s3://bucket/prefix, empty or absent; None is
            exports/FORMAT/NAME/VERSION under the root.

    Raises:
        SpecError: the format is unknown or cannot express the dictionary, or the destination holds something already.
        MissingArtifactError: there is no such dictionary.
        IntegrityError: its files are not what its manifest says.
    """
    if format_name not in WRITERS:
        raise SpecError(
            "--format", format_name, allowed=[*WRITERS], mend="Name a format that can be written."
        )
    store = open_store(root)
    manifest = read_dictionary(store, reference)
    prefix = paths.export(format_name, manifest.name, manifest.version) + "/" if destination is None else ""
    target = store if destination is None else _open(destination)
    if next(target.list(prefix), None) is not None:
        raise SpecError(
            "--to", destination or prefix, mend="Something is there already: name an empty folder."
        )
    files = WRITERS[format_name](OutgoingDictionary(manifest, read_folder(store, manifest)))
    for name, data in files.items():
        target.put(f"{prefix}{name}", data)
    return [f"{target.url}/{prefix}{name}" for name in files]


def _open(destination: str) -> ObjectStore:
    if "://" in destination:
        return open_store(destination)
    return open_store(Path(destination).expanduser().absolute().as_uri())
