"""Which arrays to import, and how their rows are addressed, dealt and stored."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from thresher.activations.split_shares import SplitShares
from thresher.config import Spec
from thresher.contracts.manifests import EncodingName
from thresher.contracts.sites import check_site_name

Operational = {"operational": True}


class NpySource(Spec):
    """One array, cut over one or many .npy files along its first axis."""

    kind: Literal["npy"]
    """npy"""
    path: Annotated[str, Field(json_schema_extra=Operational)]
    """File or pattern such as /data/part-*.npy or s3://bucket/prefix/*.npy; files are joined in the order of names."""


class SafetensorsSource(Spec):
    """One tensor of each of one or many .safetensors files, joined along the first axis."""

    kind: Literal["safetensors"]
    """safetensors"""
    path: Annotated[str, Field(json_schema_extra=Operational)]
    """As for npy."""
    tensor: str
    """Name of the tensor in each file."""


class ParquetSource(Spec):
    """Columns of one or many Parquet files."""

    kind: Literal["parquet"]
    """parquet"""
    path: Annotated[str, Field(json_schema_extra=Operational)]
    """As for npy."""
    columns: Annotated[list[str], Field(min_length=1)]
    """One column of lists, or several columns of numbers, by name or pattern (x_*), in the order of the file."""


ArraySource = Annotated[NpySource | SafetensorsSource | ParquetSource, Field(discriminator="kind")]


class AddressSpec(Spec):
    """What is known of each row beside its activations. Each source has an entry a sequence or an entry a row."""

    doc_id: ArraySource | None = None
    """Document of each sequence: all sequences of a document fall into one split. Null: the sequence's number."""
    token_id: ArraySource | None = None
    """Token of each row; null: -1."""
    payload: ArraySource | None = None
    """Context of each row: a text, JSON or a URI, kept beside its address."""

    def identity(self) -> dict[str, Any]:
        return {
            name: None if source is None else source.identity()
            for name, source in (
                ("doc_id", self.doc_id),
                ("token_id", self.token_id),
                ("payload", self.payload),
            )
        }


class ImportSpec(Spec):
    """Write activations made elsewhere as a harvest."""

    root: Annotated[str, Field(json_schema_extra=Operational)]
    """Root of the object store to write to: file:///folder or s3://bucket/prefix."""
    sites: Annotated[dict[str, ArraySource], Field(min_length=1)]
    """Arrays by the name of their site, such as image_embedding.0: [rows, width] or [sequences, length, width]."""
    address: AddressSpec = AddressSpec()
    """Document, token and context of the rows."""
    sequence_length: Annotated[int, Field(ge=1)] | None = None
    """Rows of a sequence, for arrays that hold sequences one after the other; null: as the arrays' shape says."""
    splits: SplitShares = SplitShares(fit=0.9, explain=0.05, report=0.05)
    """How documents are dealt out."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides which split each document falls into."""
    encoding: EncodingName = "bfloat16"
    """How rows are stored."""
    centre: bool = True
    """Store int8 rows less a mean row and in units of a spread a column, both measured on the first shard's rows. Of no
    effect on other encodings."""
    rows_per_shard: Annotated[int, Field(ge=1)] = 65_536
    """The unit of commit and resume, in whole sequences."""

    @field_validator("sites")
    @classmethod
    def _names_are_sites(cls, sites: dict[str, Any]) -> dict[str, Any]:
        for name in sites:
            check_site_name("sites", name)
        return sites

    @model_validator(mode="after")
    def _options_fit_together(self) -> "ImportSpec":
        return self

    def identity(self) -> dict[str, Any]:
        """As of any spec; the sources' paths are left out, since their bytes enter the id."""
        return {
            **super().identity(),
            "sites": {name: source.identity() for name, source in self.sites.items()},
        }

    def sources(self) -> dict[str, NpySource | SafetensorsSource | ParquetSource]:
        """Every source by the dotted name of its field."""
        named = {f"sites.{name}": source for name, source in self.sites.items()}
        extra = (
            ("address.doc_id", self.address.doc_id),
            ("address.token_id", self.address.token_id),
            ("address.payload", self.address.payload),
        )
        return {**named, **{field: source for field, source in extra if source is not None}}
