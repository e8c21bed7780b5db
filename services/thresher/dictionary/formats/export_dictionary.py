"""Exports a dictionary to a folder of another tool's format."""

from collections.abc import Mapping
from pathlib import Path

from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.dictionary.formats.known import WRITERS
from thresher.dictionary.formats.outgoing import OutgoingDictionary
from thresher.latents.weights import read_dictionary, read_folder
from thresher.storage import open_store


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
    target, prefix = store, paths.export(format_name, manifest.name, manifest.version) + "/"
    folder = None if destination is None else _local_folder(destination)
    if destination is not None and folder is None:
        target, prefix = open_store(destination), ""
    is_taken = any(folder.iterdir()) if folder and folder.exists() else False
    if is_taken or (folder is None and next(target.list(prefix), None) is not None):
        raise SpecError(
            "--to", destination or prefix, mend="Something is there already: name an empty folder."
        )
    files = WRITERS[format_name](OutgoingDictionary(manifest, read_folder(store, manifest)))
    if folder is not None:
        return _write(folder, files)
    for name, data in files.items():
        target.put(f"{prefix}{name}", data)
    return [f"{target.url}/{prefix}{name}" for name in files]


def _local_folder(destination: str) -> Path | None:
    if "://" in destination and not destination.startswith("file://"):
        return None
    return Path(destination.removeprefix("file://")).expanduser().absolute()


def _write(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Plain files and nothing beside them: sparsify takes every folder that it finds for a hookpoint."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return [(folder / name).as_uri() for name in files]
