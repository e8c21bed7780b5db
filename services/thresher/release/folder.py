"""The pulled folder: which paths a release may write, and whether what is there is what it should be."""

import hashlib
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from thresher.contracts.errors import IntegrityError, MissingArtifactError
from thresher.contracts.manifests import ReleaseFile, ReleaseManifest

MANIFEST = "manifest.json"


def check_paths(manifest: ReleaseManifest) -> None:
    """Refuse a manifest that would write outside the folder, over itself, or one file twice.

    Raises:
        IntegrityError: names the path.
    """
    seen = {MANIFEST.casefold()}
    for file in manifest.files:
        if not _is_inside(file.path) or file.path.casefold() in seen:
            raise IntegrityError(
                f"Release {manifest.name}@{manifest.version} names the path {file.path!r}, which a release may not "
                "write: it was tampered with, or made by something else. Nothing was pulled."
            )
        seen.add(file.path.casefold())


def read_manifest(folder: Path) -> ReleaseManifest:
    """The manifest of a pulled folder.

    Raises:
        MissingArtifactError: the folder holds none.
        IntegrityError: it is damaged.
    """
    try:
        manifest = ReleaseManifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingArtifactError(f"{folder} holds no {MANIFEST}: it is no pulled release.") from error
    except ValidationError as error:
        raise IntegrityError(
            f"{folder / MANIFEST} is damaged: pull the release into another folder."
        ) from error
    check_paths(manifest)
    return manifest


def file_fault(folder: Path, file: ReleaseFile) -> str | None:
    """What is wrong with a file of the folder, or None; every byte is read."""
    path = folder / file.path
    if not path.is_file():
        return f"{file.path}: missing"
    size = path.stat().st_size
    if size != file.size:
        return f"{file.path}: {size} bytes, should be {file.size}"
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    return (
        None if found == file.sha256 else f"{file.path}: sha256 {found[:12]}…, should be {file.sha256[:12]}…"
    )


def verify_folder(folder: Path) -> list[str]:
    """Re-read every byte of a pulled folder: what is wrong, a line a file; empty if nothing is.

    A group of which there is no file at all was not pulled, and is not missed.

    Raises:
        MissingArtifactError: the folder holds no manifest.
        IntegrityError: its manifest is damaged.
    """
    manifest = read_manifest(folder)
    pulled = {file.group for file in manifest.files if (folder / file.path).exists()}
    faults = [file_fault(folder, file) for file in manifest.files if file.group in pulled]
    return [fault for fault in faults if fault is not None]


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    plain = path.isprintable() and "\\" not in path and ":" not in path and "/".join(parts) == path
    return bool(parts) and plain and parts[0] != "/" and ".." not in parts
