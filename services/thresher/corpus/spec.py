"""Which text, how it is tokenised, packed and split."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError

Operational = {"operational": True}


class TextFilesSource(Spec):
    """Every file of a folder that matches a pattern is a document."""

    kind: Literal["text_files"]
    """text_files"""
    folder: str
    """Folder to search, with its subfolders."""
    pattern: str = "*.txt"
    """File name pattern."""
    share: Annotated[float, Field(gt=0)] = 1.0
    """Tokens to take from this source, relative to the other sources' shares."""


class JsonLinesSource(Spec):
    """Every line of a JSONL file is a document."""

    kind: Literal["jsonl"]
    """jsonl"""
    path: str
    """The file."""
    text_field: str = "text"
    """Key that holds the text."""
    id_field: str | None = None
    """Key that holds the document's id; else the line's number is its id."""
    share: Annotated[float, Field(gt=0)] = 1.0
    """As for text_files."""


class ParquetSource(Spec):
    """Every row of a Parquet file is a document."""

    kind: Literal["parquet"]
    """parquet"""
    path: str
    """The file."""
    text_field: str = "text"
    """Column that holds the text."""
    id_field: str | None = None
    """Column that holds the document's id; else the row's number is its id."""
    share: Annotated[float, Field(gt=0)] = 1.0
    """As for text_files."""


class BundledSource(Spec):
    """Real text that installed packages carry, for demos and tests."""

    kind: Literal["bundled"]
    """bundled"""
    name: Literal["wikipedia_summaries", "python_stdlib"]
    """10,033 English Wikipedia summaries, or the modules of Python's standard library."""
    share: Annotated[float, Field(gt=0)] = 1.0
    """As for text_files."""


Source = Annotated[
    TextFilesSource | JsonLinesSource | ParquetSource | BundledSource, Field(discriminator="kind")
]


class SplitShares(Spec):
    """How documents are dealt out. Fractions of the tokens; they sum to 1."""

    fit: Annotated[float, Field(ge=0, le=1)] = 0.7
    """To fit dictionaries."""
    explain: Annotated[float, Field(ge=0, le=1)] = 0.15
    """To find the exemplars that explanations are written from."""
    report: Annotated[float, Field(ge=0, le=1)] = 0.15
    """To score: held out from all else."""

    @model_validator(mode="after")
    def _sum_to_one(self) -> "SplitShares":
        total = self.fit + self.explain + self.report
        if abs(total - 1) > 1e-6:
            raise SpecError(
                "splits", round(total, 6), allowed="fractions that sum to 1", mend="Correct the fractions."
            )
        return self


class CorpusSpec(Spec):
    """Tokenise documents, pack them into full sequences, split by document."""

    root: Annotated[str, Field(json_schema_extra=Operational)]
    """Root of the object store: file:///folder or s3://bucket/prefix."""
    sources: Annotated[list[Source], Field(min_length=1)]
    """Where the text comes from."""
    tokenizer: Annotated[str, Field(json_schema_extra=Operational)]
    """Folder with the tokenizer.json of the model to harvest. Its bytes enter the id."""
    sequence_length: Annotated[int, Field(ge=8)] = 256
    """Tokens a sequence; a last one that would not be full is left out."""
    max_tokens: Annotated[int, Field(ge=8)]
    """Stop when so many tokens are packed, over all splits; fewer if the sources hold fewer."""
    max_document_tokens: Annotated[int, Field(ge=1)] = 4096
    """Longer documents are cut here, so that no single one fills the corpus."""
    bos_token: str | None = None
    """Token at position 0 of every sequence, as the tokenizer writes it; none if null."""
    separator_token: str | None = None
    """Token between two documents of a sequence; none if null."""
    splits: SplitShares = SplitShares()
    """How documents are dealt out."""
    seed: int = 0
    """Decides the order of documents and which split each falls into."""
