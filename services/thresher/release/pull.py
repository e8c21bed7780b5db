"""Pulling: a release appears in a folder whole and verified, or not at all."""

import errno
import fnmatch
import shutil
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from thresher.contracts import paths
from thresher.contracts.errors import (
    AlreadyExistsError,
    IntegrityError,
    MissingArtifactError,
    SpecError,
    StoreError,
)
from thresher.contracts.manifests import ReleaseFile, ReleaseGroup, ReleaseManifest
from thresher.contracts.names import check_name, parse_reference, version_order
from thresher.release.folder import MANIFEST, check_paths, file_fault, read_manifest
from thresher.runtime.progress import progress
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import read_record, record_bytes
from thresher.storage.file_errors import file_errors
from thresher.storage.read_file import download

NUM_WORKERS = 8


def pull(
    root: str,
    release: str,
    destination: str | Path,
    *,
    groups: Sequence[str] | None = None,
    allow_patterns: Sequence[str] | None = None,
    num_workers: int = NUM_WORKERS,
) -> Path:
    """Pull a release into a folder; every file's sha256 is checked before any is visible.

    A folder that holds the release already is left as it is, after its files were checked; files that it lacks,
    such as those of other groups, are added. An interrupted pull leaves the folder as it was.

    Args:
        root: url of the store.
        release: name@version, or a name alone for its highest version.
        destination: the folder; made, with its parents, if it is not there.
        groups: only these groups of files; null is all.
        allow_patterns: only files whose path matches one of these shell patterns; null is all.
        num_workers: files downloaded at once.

    Raises:
        SpecError: the name is none, or the groups and patterns leave nothing to pull.
        MissingArtifactError: there is no such release; lists those that are.
        AlreadyExistsError: the folder holds something else.
        IntegrityError: a stored or pulled file is damaged; names it.
        StoreError: the store cannot be reached, or the disk is too small.
    """
    store = open_store(root)
    manifest = find_release(store, release)
    check_paths(manifest)
    chosen = _choose(manifest, groups, allow_patterns)
    folder = Path(destination).absolute()
    missing = _missing(folder, manifest, chosen)
    if not missing:
        return folder
    with file_errors(folder.as_uri()), _staging(folder) as staging:
        _check_space(staging, missing)
        _download_all(store, missing, staging, num_workers)
        (staging / MANIFEST).write_bytes(record_bytes(manifest))
        _reveal(staging, folder, manifest)
    return folder


def find_release(store: ObjectStore, release: str) -> ReleaseManifest:
    """The manifest of `name@version`, or of the highest version of a name.

    Raises:
        SpecError: the text is no such name.
        MissingArtifactError: there is no such release; lists those that are.
    """
    if "@" in release:
        name, version = parse_reference("release", release)
    else:
        name, version = check_name("release", release), ""
    versions = _versions(store, name)
    if not version and versions:
        version = versions[-1]
    if version not in versions:
        raise MissingArtifactError(f"{store.url} holds no release {release}. {_known(store, name, versions)}")
    return read_record(store, paths.manifest(paths.release(name, version)), ReleaseManifest)


def _versions(store: ObjectStore, name: str) -> list[str]:
    prefix, suffix = paths.release(name, ""), f"/{MANIFEST}"
    keys = [info.key.removeprefix(prefix) for info in store.list(prefix)]
    found = [key.removesuffix(suffix) for key in keys if key.endswith(suffix) and key.count("/") == 1]
    return sorted(found, key=version_order)


def _known(store: ObjectStore, name: str, versions: list[str]) -> str:
    if versions:
        return f"There are: {', '.join(f'{name}@{version}' for version in versions)}."
    keys = (info.key for info in store.list("releases/"))
    names = sorted({key.split("/")[1] for key in keys if key.endswith(f"/{MANIFEST}")})
    return (
        f"There are releases of: {', '.join(names)}."
        if names
        else "Nothing was published there: check the root."
    )


def _choose(
    manifest: ReleaseManifest, groups: Sequence[str] | None, patterns: Sequence[str] | None
) -> list[ReleaseFile]:
    for group in groups or ():
        if group not in get_args(ReleaseGroup):
            raise SpecError("groups", group, allowed=get_args(ReleaseGroup), mend="Name one of these.")
    chosen = [
        file
        for file in manifest.files
        if (groups is None or file.group in groups)
        and (patterns is None or any(fnmatch.fnmatchcase(file.path, pattern) for pattern in patterns))
    ]
    if not chosen:
        known = [file.path for file in manifest.files if groups is None or file.group in groups]
        raise SpecError(
            "allow_patterns", list(patterns or ()), allowed=known, mend="No file matches: widen it."
        )
    return chosen


def _missing(folder: Path, manifest: ReleaseManifest, chosen: list[ReleaseFile]) -> list[ReleaseFile]:
    """Which of the chosen files the folder lacks; what it has is checked."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return chosen
    try:
        held = read_manifest(folder)
    except MissingArtifactError as error:
        raise AlreadyExistsError(f"{folder} exists and is no pulled release: give another folder.") from error
    if held != manifest:
        raise AlreadyExistsError(
            f"{folder} holds {held.name}@{held.version}, not {manifest.name}@{manifest.version} of this store: "
            "give another folder."
        )
    present = [file for file in chosen if (folder / file.path).exists()]
    faults = [fault for file in present if (fault := file_fault(folder, file)) is not None]
    if faults:
        raise IntegrityError(
            f"{folder} was changed after it was pulled ({'; '.join(faults)}). Delete these, pull again."
        )
    return [file for file in chosen if file not in present]


def _check_space(folder: Path, files: list[ReleaseFile]) -> None:
    needed, free = sum(file.size for file in files), shutil.disk_usage(folder).free
    if needed > free:
        raise StoreError(
            f"The pull needs {needed:,} bytes and {folder.parent} has {free:,} free: make room first."
        )


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A hidden folder beside the destination, on its file system; gone afterwards, whatever happens."""
    staging = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.partial")
    staging.mkdir(parents=True)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _download_all(store: ObjectStore, files: list[ReleaseFile], staging: Path, num_workers: int) -> None:
    num_bytes = sum(file.size for file in files)
    with progress("pull", num_bytes, "bytes") as meter, ThreadPoolExecutor(num_workers) as executor:
        stop, lock = threading.Event(), threading.Lock()

        def advance(amount: int) -> None:
            if stop.is_set():
                raise InterruptedError("the pull was stopped")
            with lock:
                meter.advance(amount)

        try:
            tasks = [executor.submit(download, store, file, staging / file.path, advance) for file in files]
            for task in as_completed(tasks):
                task.result()
        finally:
            stop.set()
            executor.shutdown(cancel_futures=True)


def _reveal(staging: Path, folder: Path, manifest: ReleaseManifest) -> None:
    """Make the downloaded files visible: at once where the folder is new, else one by one beside those it has."""
    try:
        staging.rename(folder)
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    if read_manifest(folder) != manifest:
        raise AlreadyExistsError(f"{folder} was filled by something else meanwhile: give another folder.")
    for path in sorted(path for path in staging.rglob("*") if path.is_file()):
        target = folder / path.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
