"""Activations of a model, or rows made elsewhere, in shards."""

from typing import Any, Literal

from pydantic import Field

from thresher.contracts.manifests.corpus import SplitRange
from thresher.contracts.manifests.record import FileEntry, Record
from thresher.contracts.row_selection import RowSelection

EncodingName = Literal["bfloat16", "float16", "int8"]
"""How a dense row is stored; int8 has scales of a row and of its blocks."""


class ModelIdentity(Record):
    """A model as its bytes say, not as its folder is called."""

    name: str
    """Folder name or hub id, for people."""
    architecture: str
    num_layers: int
    d_model: int
    d_mlp: int | None = None
    """Neurons of one MLP, or of one expert; null where the config does not say."""
    weights_sha256: str
    """Hash over the names and hashes of all weight files."""
    config_sha256: str
    tokenizer_sha256: str


class DictionaryRef(Record):
    """A dictionary and the bytes that were used of it."""

    name: str
    version: str
    weights_sha256: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class OutlierRow(Record):
    """A row whose norm is among the largest of its file: where attention sinks show."""

    sequence: int
    position: int
    norm: float


class SiteFile(FileEntry):
    relative_error: float
    """sqrt(sum |x - stored(x)|^2 / sum |x|^2) over the rows of the file; 0 for sparse codes, stored as computed."""
    max_row_error: float = 0.0
    """Largest |x - stored(x)| / |x| of a row of the file."""
    norm_counts: dict[int, int] = Field(default_factory=dict)
    """Rows by the norm before encoding: key b counts norms in [2^(b/4), 2^((b+1)/4)); rows of norm 0 are left out."""
    outliers: list[OutlierRow] = Field(default_factory=list)
    """The rows of largest norm, largest first."""


class EngineProvenance(Record):
    engine: str
    """vllm, or import for activations made elsewhere."""
    engine_version: str
    model_runner: str
    dtype: str
    torch_version: str


class ShardCommit(Record):
    """One shard, done: a fixed range of sequences, every selected (sequence, position) once, all values finite."""

    index: int
    first_sequence: int
    num_sequences: int
    num_rows: int
    sites: dict[str, SiteFile]
    """One activations file a site."""
    rows: FileEntry
    """doc_id, sequence, position and token_id of each row."""
    provenance: EngineProvenance
    """What computed the rows."""


class SiteSummary(Record):
    width: int
    """Values of a dense row (d_model, but for neurons), the number of latents for sparse codes."""
    relative_error: float
    """Largest over the shards."""
    max_row_error: float = 0.0
    """Of any row."""


class HarvestManifest(Record):
    harvest_id: str
    spec: dict[str, Any]
    model: ModelIdentity | None
    """What computed the rows; null for imported activations."""
    corpus_id: str | None
    """Text behind the rows; null for imported activations."""
    sequence_length: int
    """Positions of a sequence; 1 where imported rows have no order."""
    splits: list[SplitRange]
    """The sequences that were harvested, by split."""
    selection: RowSelection
    """Which rows of those sequences are stored."""
    encoding: EncodingName | Literal["sparse"]
    dictionary: DictionaryRef | None
    """The dictionary that encoded the rows, for sparse codes."""
    sites: dict[str, SiteSummary]
    num_rows: int
    shards: list[ShardCommit]
    provenance: list[EngineProvenance]
    """Every distinct engine that computed a shard; one, unless a resumed run met another machine."""
    code_version: str
