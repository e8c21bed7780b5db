"""From a source to its documents."""

import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from thresher.contracts.errors import SpecError
from thresher.corpus.spec import BundledSource, JsonLinesSource, ParquetSource, Source, TextFilesSource
from thresher.runtime.local.bundled import wikipedia_summaries


class Document(NamedTuple):
    doc_id: str
    text: str


def read_documents(source: Source) -> Iterator[Document]:
    """Every document of a source that holds text.

    Raises:
        SpecError: the source is not there, or lacks the named field.
    """
    readers = {"text_files": _text_files, "jsonl": _json_lines, "parquet": _parquet, "bundled": _bundled}
    for document in readers[source.kind](source):  # type: ignore[operator]
        if document.text.strip():
            yield document


def _text_files(source: TextFilesSource) -> Iterator[Document]:
    folder = Path(source.folder)
    if not folder.is_dir():
        raise SpecError("sources.folder", source.folder, mend="Give a folder that exists.")
    for file in sorted(folder.rglob(source.pattern)):
        if file.is_file():
            yield Document(
                file.relative_to(folder).as_posix(), file.read_text(encoding="utf-8", errors="replace")
            )


def _existing_file(path: str) -> Path:
    if not Path(path).is_file():
        raise SpecError("sources.path", path, mend="Give a file that exists.")
    return Path(path)


def _json_lines(source: JsonLinesSource) -> Iterator[Document]:
    file = _existing_file(source.path)
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            try:
                item = json.loads(line)
            except json.JSONDecodeError as error:
                raise SpecError(
                    "sources.path", source.path, mend=f"Line {number + 1} is not JSON: {error}."
                ) from error
            if not isinstance(item, dict) or not isinstance(item.get(source.text_field), str):
                raise SpecError(
                    "sources.text_field",
                    source.text_field,
                    mend=f"Line {number + 1} has no such text: correct the key.",
                )
            yield Document(
                _doc_id(file, number, item.get(source.id_field) if source.id_field else None),
                item[source.text_field],
            )


def _parquet(source: ParquetSource) -> Iterator[Document]:
    file = _existing_file(source.path)
    table = pq.ParquetFile(file)
    columns = [name for name in (source.text_field, source.id_field) if name]
    for column in columns:
        if column not in table.schema_arrow.names:
            raise SpecError(
                "sources.text_field", column, allowed=table.schema_arrow.names, mend="Name a column."
            )
    number = 0
    for batch in table.iter_batches(columns=columns):
        for item in batch.to_pylist():
            yield Document(
                _doc_id(file, number, item[source.id_field] if source.id_field else None),
                item[source.text_field] or "",
            )
            number += 1


def _doc_id(file: Path, number: int, given: object) -> str:
    return f"{file.name}:{number}" if given is None else str(given)


def _bundled(source: BundledSource) -> Iterator[Document]:
    if source.name == "python_stdlib":
        folder = sysconfig.get_path("stdlib")
        for file in sorted(Path(folder).rglob("*.py")):
            name = file.relative_to(folder)
            if not {"site-packages", "test", "tests", "idlelib"} & set(name.parts):
                yield Document(
                    f"python/{name.as_posix()}", file.read_text(encoding="utf-8", errors="replace")
                )
        return
    summaries = json.loads(wikipedia_summaries().read_text(encoding="utf-8"))
    for title, summary in sorted(summaries.items()):
        yield Document(f"wikipedia/{title}", summary["extract"])
