"""What a manifest says, in lines for people."""

from collections.abc import Iterator
from typing import Any

from thresher.contracts.manifests import DictionaryRef, FileEntry, Record
from thresher.release.verify import file_entries, read_manifest
from thresher.storage import ObjectStore


def inspect(store: ObjectStore, artifact: str) -> list[tuple[str, str]]:
    """Name and value of everything worth knowing of an artifact; nested names are dotted, files are counted.

    Args:
        store: where it lies.
        artifact: its folder under the root, such as releases/name/1.

    Raises:
        SpecError: the path is of no kind of artifact.
        MissingArtifactError: there is no such artifact.
        IntegrityError: its manifest is damaged.
    """
    manifest = read_manifest(store, artifact)
    files = {entry.key: entry.size for entry in file_entries(manifest)}
    return [*_lines("", manifest), ("files", f"{len(files):,}"), ("bytes", f"{sum(files.values()):,}")]


def _lines(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, FileEntry):
        return
    if isinstance(value, DictionaryRef) or not isinstance(value, Record | dict | list):
        yield name, "none" if value is None else str(value)
    elif isinstance(value, list):
        yield from _list_lines(name, value)
    else:
        items = value.items() if isinstance(value, dict) else iter(value)
        for key, item in items:
            yield from _lines(f"{name}.{key}" if name else str(key), item)


def _list_lines(name: str, values: list[Any]) -> Iterator[tuple[str, str]]:
    plain = not any(isinstance(item, Record | dict | list) for item in values)
    if plain:
        yield name, ", ".join(str(item) for item in values) or "none"
    elif not all(isinstance(item, FileEntry) for item in values):
        yield name, f"{len(values):,}"
