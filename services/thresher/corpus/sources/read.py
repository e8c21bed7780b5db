"""Opens a source of any kind, as files whose documents are streamed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from thresher.contracts.errors import SpecError
from thresher.corpus.document import Document
from thresher.corpus.source_spec import (
    BundledSource,
    HuggingFaceSource,
    JsonLinesSource,
    ParquetSource,
    RecordSource,
    Source,
    TextFilesSource,
)
from thresher.corpus.sources import json_lines
from thresher.corpus.sources.bundled import bundled_files, read_bundled
from thresher.corpus.sources.files import Advance, SourceFile, find_files, open_folder
from thresher.corpus.sources.huggingface import dataset_files
from thresher.corpus.sources.json_lines import read_json_lines
from thresher.corpus.sources.records import to_document
from thresher.corpus.sources.tables import read_arrow_stream, read_parquet


@dataclass(frozen=True)
class DocumentFile:
    """One file of a source; reading it again gives the same documents in the same order."""

    size: int
    """Bytes, for progress."""
    read: Callable[[Advance], Iterator[Document]]


def open_source(source: Source) -> list[DocumentFile]:
    """Find the files of a source, in the order in which they are read.

    Raises:
        SpecError: there are none.
    """
    if isinstance(source, BundledSource):
        return [_bundled(source, file) for file in bundled_files(source)]
    if isinstance(source, TextFilesSource):
        return [DocumentFile(file.size, partial(_text_file, source, file)) for file in _text_files(source)]
    return [DocumentFile(file.size, partial(_records, source, file)) for file in _record_files(source)]


def read_documents(file: DocumentFile, advance: Advance = lambda num_bytes: None) -> Iterator[Document]:
    """The documents of a file that say something; `advance` is told the bytes that were read.

    Raises:
        SpecError: the file or a record of it cannot be read; names the file and the line or row.
    """
    return (document for document in file.read(advance) if not document.is_blank)


def _bundled(source: BundledSource, file: Path) -> DocumentFile:
    def read(advance: Advance) -> Iterator[Document]:
        yield from read_bundled(source, file)
        advance(size)

    size = file.stat().st_size
    return DocumentFile(size, read)


def _text_files(source: TextFilesSource) -> list[SourceFile]:
    files = open_folder(source.folder).matching(f"**/{source.pattern}")
    if not files:
        raise SpecError(
            "sources.folder", source.folder, mend=f"Give a folder that holds files such as {source.pattern}."
        )
    return files


def _text_file(source: TextFilesSource, file: SourceFile, advance: Advance) -> Iterator[Document]:
    text = file.read().decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    yield Document(source.id_prefix + file.name, text, file.url)
    advance(file.size)


def _record_files(source: RecordSource) -> list[SourceFile]:
    if isinstance(source, HuggingFaceSource):
        return dataset_files(source)
    suffixes = json_lines.SUFFIXES if isinstance(source, JsonLinesSource) else (".parquet",)
    return find_files("sources.path", source.path, suffixes)


def _records(source: RecordSource, file: SourceFile, advance: Advance) -> Iterator[Document]:
    if file.size == 0:
        return
    if isinstance(source, JsonLinesSource):
        records = read_json_lines(source.path, file, advance)
    elif isinstance(source, ParquetSource) or file.name.endswith(".parquet"):
        records = read_parquet(source, file, advance)
    else:
        records = read_arrow_stream(source, file, advance)
    for record in records:
        yield to_document(source, file, record)
