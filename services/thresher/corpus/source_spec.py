"""Where text comes from: the kinds of source of a corpus."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError


class SourceShare(Spec):
    """What every kind of source has."""

    share: Annotated[float, Field(gt=0)] = 1.0
    """Tokens to take from this source, relative to the other sources' shares."""
    id_prefix: str = ""
    """Put before the id of each document, where two sources name theirs alike."""


class TextFilesSource(SourceShare):
    """Every file of a folder that matches a pattern is a document."""

    kind: Literal["text_files"]
    """text_files"""
    folder: str
    """Folder to search, with its subfolders: a path, or s3://bucket/prefix."""
    pattern: str = "*.txt"
    """File name pattern."""


class RecordFields(SourceShare):
    """Which fields of a record make the document: text, or a conversation."""

    text_field: str = "text"
    """Field that holds the text."""
    messages_field: str | None = None
    """Field that holds a conversation, in place of text: a list of {role, content} or of {from, value}."""
    id_field: str | None = None
    """Field that holds the document's id; else the file and the record's number are its id."""

    @model_validator(mode="after")
    def _text_or_messages(self) -> "RecordFields":
        if self.messages_field is not None and self.text_field != "text":
            raise SpecError(
                "messages_field", self.messages_field, mend="A source holds text or conversations: name one."
            )
        return self

    @property
    def content_field(self) -> str:
        return self.messages_field or self.text_field


class JsonLinesSource(RecordFields):
    """Every line of a JSONL file is a document."""

    kind: Literal["jsonl"]
    """jsonl"""
    path: str
    """A file (.jsonl, or compressed .gz or .zst), a folder of them, or a pattern such as data/**/*.jsonl.gz; a path or
    s3://bucket/key."""


class ParquetSource(RecordFields):
    """Every row of a Parquet file is a document."""

    kind: Literal["parquet"]
    """parquet"""
    path: str
    """A file, a folder of *.parquet, or a pattern; a path or s3://bucket/key."""


class HuggingFaceSource(RecordFields):
    """Every row of a Hugging Face dataset is a document."""

    kind: Literal["huggingface"]
    """huggingface"""
    path: str
    """Folder that `save_to_disk` wrote, or a hub repository's folder of Parquet shards; a path or s3://bucket/prefix."""
    split: str | None = None
    """Which split of the dataset to read; may be left out if there is but one."""


class BundledSource(SourceShare):
    """Real text that installed packages carry, for demos and tests."""

    kind: Literal["bundled"]
    """bundled"""
    name: Literal["wikipedia_summaries", "python_stdlib"]
    """10,033 English Wikipedia summaries, or the modules of Python's standard library."""


RecordSource = JsonLinesSource | ParquetSource | HuggingFaceSource
Source = Annotated[
    TextFilesSource | JsonLinesSource | ParquetSource | HuggingFaceSource | BundledSource,
    Field(discriminator="kind"),
]


def holds_conversations(source: Source) -> bool:
    return isinstance(source, RecordFields) and source.messages_field is not None
