"""Folders of Hugging Face datasets, read with pyarrow alone.

What `Dataset.save_to_disk` writes (state.json and Arrow IPC streams), what `DatasetDict.save_to_disk` writes
(dataset_dict.json and one such folder a split), and the Parquet shards that hub repositories hold.
"""

import json
import re
from collections import defaultdict
from pathlib import PurePosixPath
from typing import Any

from thresher.contracts.errors import SpecError
from thresher.corpus.source_spec import HuggingFaceSource
from thresher.corpus.sources.files import Folder, SourceFile, open_folder

SHARD_NAME = re.compile(r"(?P<split>.+?)-\d+-of-\d+(-[0-9a-f]+)?")


def dataset_files(source: HuggingFaceSource) -> list[SourceFile]:
    """The files of the split, in order: *.arrow streams or *.parquet.

    Raises:
        SpecError: there is no dataset, the split has to be named, or it was saved in a way that is not read.
    """
    folder = open_folder(source.path)
    if splits := folder.file("dataset_dict.json"):
        name = _choose(source, _json(source, splits).get("splits", []))
        return _saved_files(source, folder.folder(name))
    if folder.file("state.json"):
        return _saved_files(source, folder)
    return _parquet_shards(source, folder)


def _saved_files(source: HuggingFaceSource, folder: Folder) -> list[SourceFile]:
    state = folder.file("state.json")
    if state is None:
        raise SpecError("sources.path", source.path, mend=f"{folder.url} holds no state.json: save it again.")
    values = _json(source, state)
    if values.get("_indices_files") or values.get("_indices_data_files"):
        raise SpecError(
            "sources.path",
            source.path,
            mend="It is saved with indices: call flatten_indices() and save again.",
        )
    found = [(item["filename"], folder.file(item["filename"])) for item in values.get("_data_files", [])]
    missing = [name for name, file in found if file is None]
    if missing or not found:
        raise SpecError(
            "sources.path",
            source.path,
            mend=f"{folder.url} lacks {', '.join(missing) or 'data files'}: copy or save it again.",
        )
    return [file for _, file in found if file is not None]


def _parquet_shards(source: HuggingFaceSource, folder: Folder) -> list[SourceFile]:
    by_split: dict[str, dict[str, list[SourceFile]]] = defaultdict(lambda: defaultdict(list))
    for file in folder.matching("**/*.parquet"):
        configuration, split = _shard_place(PurePosixPath(file.name))
        by_split[split][configuration].append(file)
    if not by_split:
        raise SpecError(
            "sources.path",
            source.path,
            allowed="a folder with state.json, dataset_dict.json or *.parquet",
            mend="Give the folder of a dataset.",
        )
    configurations = by_split[_choose(source, sorted(by_split))]
    if len(configurations) > 1:
        raise SpecError(
            "sources.path",
            source.path,
            allowed=[f"{source.path.rstrip('/')}/{name}" for name in sorted(configurations)],
            mend="It holds several configurations: give the folder of one.",
        )
    return next(iter(configurations.values()))


def _shard_place(name: PurePosixPath) -> tuple[str, str]:
    """Configuration and split of `data/train-00000-of-00002.parquet` or `default/train/0000.parquet`."""
    if name.stem.isdigit():
        return str(name.parent.parent), name.parent.name or name.stem
    match = SHARD_NAME.fullmatch(name.stem)
    return str(name.parent), match["split"] if match else name.stem


def _choose(source: HuggingFaceSource, splits: list[str]) -> str:
    if source.split is None and len(splits) == 1:
        return splits[0]
    if source.split not in splits:
        raise SpecError("sources.split", source.split, allowed=splits, mend="Name one split of the dataset.")
    return source.split


def _json(source: HuggingFaceSource, file: SourceFile) -> dict[str, Any]:
    try:
        values = json.loads(file.read())
    except ValueError as error:
        raise SpecError("sources.path", source.path, mend=f"{file.url} is not JSON: {error}.") from error
    if not isinstance(values, dict):
        raise SpecError("sources.path", source.path, mend=f"{file.url} is no JSON object: save it again.")
    return values
