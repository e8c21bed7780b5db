"""Manifests: the last object written of every artifact. Whoever sees a manifest sees a whole artifact.

A manifest holds no clock time and no random name, so that an interrupted and resumed run writes the same
bytes as an undisturbed one.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from thresher.contracts.row_selection import RowSelection

SplitName = Literal["fit", "explain", "report"]
SPLITS: tuple[SplitName, ...] = ("fit", "explain", "report")

EncodingName = Literal["bfloat16", "float16", "int8"]
"""How a dense row is stored; int8 has a float32 scale a row."""


class Record(BaseModel):
    """Base of everything read back from storage: unknown keys mean another format, and are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class FileEntry(Record):
    key: str
    """Key of the object, relative to the store's root."""
    size: int
    """Bytes."""
    sha256: str


class SplitRange(Record):
    """Sequences [start, stop) belong to the split; a document lies in one split only."""

    split: SplitName
    start: int
    stop: int


class SequenceFile(FileEntry):
    first_sequence: int
    num_sequences: int


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


class CorpusManifest(Record):
    corpus_id: str
    spec: dict[str, Any]
    tokenizer_sha256: str
    chat_template_sha256: str | None = None
    """Of the template that rendered conversations, or null if there are none."""
    sequence_length: int
    """Tokens a sequence; every sequence is full."""
    bos_token_id: int | None
    """Token put at position 0 of every sequence, or null if none is."""
    separator_token_id: int | None
    """Token put between two documents of a sequence, or null if none is."""
    special_token_ids: list[int]
    """Tokens that the tokenizer marks as special, ascending."""
    roles: list[str]
    """Roles that occur in the chats of the corpus, by name; empty for plain text."""
    num_documents: int
    num_sequences: int
    num_tokens: int
    splits: list[SplitRange]
    files: list[SequenceFile]

    def split(self, name: str) -> SplitRange:
        return next(item for item in self.splits if item.split == name)


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
    norm_counts: dict[int, int] = {}
    """Rows by the norm before encoding: key b counts norms in [2^(b/4), 2^((b+1)/4)); rows of norm 0 are left out."""
    outliers: list[OutlierRow] = []
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


class NormBand(Record):
    """Rows whose norm lies in one range; together the bands hold every row."""

    above_norm: float
    """Norms above this one, up to the next band's; the first band also has rows of norm 0."""
    num_rows: int
    variance_share: float
    """Of sum |y - mean(y)|^2 over all rows."""
    error_share: float
    """Of sum |y - y_hat|^2 over all rows."""
    fvu: float | None
    """Error over variance of the band, both as above; null where the band has no variance."""


class ReconstructionMetrics(Record):
    """Of a dictionary, over held-out rows: y is what it reconstructs, of an autoencoder its own input.

    docs/metrics.md has each definition, its source and its pitfalls. Null and empty: not measured, or undefined.
    """

    explained_variance: float
    """1 - sum |y - y_hat|^2 / sum |y - mean(y)|^2."""
    fvu: float
    """1 - explained_variance."""
    l0: float
    """Mean number of active latents a row."""
    dead_fraction: float
    """Share of latents that no held-out row activates."""
    num_rows: int
    fvu_by_site: dict[str, float] = {}
    """FVU of each site's columns, where y is several sites side by side."""
    fvu_without_outliers: float | None = None
    """FVU over rows whose norm is at most 8 x the median, with the mean of those rows."""
    outlier_share: float | None = None
    """Share of rows above that norm."""
    outlier_variance_share: float | None = None
    """Their share of sum |y - mean(y)|^2."""
    norm_bands: list[NormBand] = []
    """Rows by the deciles of their norm, with the outliers apart."""
    l0_quantiles: dict[str, float] = {}
    """Of the number of active latents a row."""
    dense_fraction: float | None = None
    """Share of latents that more than 10 % of the rows activate."""
    density_counts: dict[int, int] = {}
    """Latents by density: key b counts those in [10^(b/4), 10^((b+1)/4)); dead ones are left out."""
    relative_reconstruction_bias: float | None = None
    """gamma = sum |y_hat|^2 / sum y_hat . y; below 1 where reconstructions are too short."""
    centred_reconstruction_bias: float | None = None
    """The same of y_hat and y less the mean of y."""
    norm_ratio: float | None = None
    """Mean of |y_hat| / |y|, over rows of norm above 0."""
    cosine: float | None = None
    """Mean cosine of y_hat and y, over rows where both norms are above 0."""
    decoder_cosine_quantiles: dict[str, float] = {}
    """Over latents: the largest |cosine| of a decoder row with another latent's."""
    decoder_cosine_counts: dict[int, int] = {}
    """The same as a histogram: key b counts latents in [b/20, (b+1)/20), the last one closed."""


TargetKind = Literal["autoencoder", "transcoder", "crosscoder", "layer_group"]


class TargetSite(Record):
    """A site whose rows a dictionary reads or reconstructs."""

    site: str
    harvest_id: str | None
    """Null for a dictionary that was made elsewhere, of rows that no harvest holds."""
    width: int
    input_scale: float = 1.0
    """What rows of the site are multiplied by before the saved weights meet them; 1 where the weights hold it."""


class DictionaryTarget(Record):
    """Which rows a dictionary is of."""

    kind: TargetKind
    inputs: list[TargetSite]
    """Read side by side, or for a layer group each as rows of its own."""
    outputs: list[TargetSite]
    """Reconstructed; the inputs themselves but for a transcoder."""

    def input_of(self, site: str) -> TargetSite | None:
        """The site, where its rows alone are what the dictionary reads; else None."""
        if self.kind == "crosscoder":
            return None
        return next((item for item in self.inputs if item.site == site), None)

    def __str__(self) -> str:
        names, read = ("+".join(item.site for item in sites) for sites in (self.outputs, self.inputs))
        return f"{read}->{names}" if self.kind == "transcoder" else read


class MixedHarvest(Record):
    """A further harvest of the same sites whose rows were mixed in."""

    harvest_id: str
    weight: float
    """Relative to 1 of the first."""


class OriginFile(Record):
    name: str
    """As it is called in its folder."""
    size: int
    """Bytes."""
    sha256: str


class DictionaryOrigin(Record):
    """Where an imported dictionary came from."""

    format: str
    architecture: str
    """What the format calls it."""
    source: str
    """Folder or url that it was read from."""
    files: list[OriginFile]


class DictionaryManifest(Record):
    name: str
    version: str
    fit_id: str
    """Content id of the fit, or of the import."""
    spec: dict[str, Any]
    architecture: str
    target: DictionaryTarget
    mixture: list[MixedHarvest] = []
    d_in: int
    """Values of a row that it reads."""
    d_out: int
    """Values of a row that it reconstructs."""
    num_latents: int
    k: int | None
    """Active latents a row that were asked for; null where an imported dictionary does not say."""
    num_training_rows: int | None
    """Rows seen, counting every epoch; null for an imported dictionary."""
    metrics: ReconstructionMetrics | None
    """Null for an imported dictionary that met no harvest."""
    origin: DictionaryOrigin | None = None
    """Null for a dictionary that was fitted here."""
    files: list[FileEntry]
    code_version: str

    @property
    def site(self) -> str:
        """Its sites, as people call them."""
        return str(self.target)

    @property
    def harvest_ids(self) -> list[str]:
        """Every harvest that it was fitted to, the first of the spec first."""
        sites = [*self.target.inputs, *self.target.outputs]
        named = [*(item.harvest_id for item in sites), *(item.harvest_id for item in self.mixture)]
        return [name for name in dict.fromkeys(named) if name is not None]

    def weights(self) -> FileEntry:
        return next(entry for entry in self.files if entry.key.endswith("sae_weights.safetensors"))

    def ref(self) -> DictionaryRef:
        return DictionaryRef(name=self.name, version=self.version, weights_sha256=self.weights().sha256)


class FeaturesManifest(Record):
    features_id: str
    spec: dict[str, Any]
    dictionary: DictionaryRef
    corpus_id: str
    harvest_id: str
    """The sparse harvest that the statistics were made from."""
    site: str
    num_latents: int
    num_rows: dict[SplitName, int]
    stats: FileEntry
    exemplars: list[FileEntry]
    code_version: str


class LabelManifest(Record):
    run_id: str
    spec: dict[str, Any]
    dictionary: DictionaryRef
    corpus_id: str
    features_id: str
    num_features: int
    states: dict[str, int]
    """Number of labels in each state."""
    mean_scores: dict[str, float]
    """Mean by score type, and by `{score type}.shuffled` for the baseline."""
    simulator_digit_mass: float | None = None
    """Mean probability the simulator put on digits where one was due: how well it kept to the format."""
    num_calls: int
    num_prompt_tokens: int
    num_completion_tokens: int
    labels: list[FileEntry]
    scores: list[FileEntry]
    responses: list[FileEntry]
    code_version: str


class Interval(Record):
    """An estimate and its 95 % interval; null where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


class SpliceMetrics(Record):
    """Of a model whose rows at a site are replaced; nats a predicted token. docs/metrics.md defines each."""

    ce_clean: Interval
    """Cross-entropy of the model as it is."""
    ce_spliced: Interval
    """With the reconstruction in the place of the rows."""
    ce_zero: Interval
    """With rows of 0 in their place."""
    ce_mean: Interval
    """With the mean row in their place."""
    kl_spliced: Interval
    """KL(model || model with the reconstruction)."""
    kl_zero: Interval
    kl_mean: Interval
    ce_recovered_from_zero: Interval
    """(ce_zero - ce_spliced) / (ce_zero - ce_clean)."""
    ce_recovered_from_mean: Interval
    """The same with the mean row; null where the ablation does no harm."""
    kl_recovered_from_zero: Interval
    """1 - kl_spliced / kl_zero."""
    kl_recovered_from_mean: Interval
    fvu: float
    """Of the rows that were replaced, as float32."""
    l0: float


class EvaluationManifest(Record):
    evaluation_id: str
    spec: dict[str, Any]
    dictionary: DictionaryRef
    model: ModelIdentity
    corpus_id: str
    input_site: str
    """What the dictionary read."""
    output_site: str
    """What was replaced."""
    num_sequences: int
    num_predictions: int
    """Tokens predicted: all but the first of each sequence."""
    num_spliced_rows: int
    """Rows replaced: those of the positions that the dictionary was fitted on."""
    metrics: SpliceMetrics
    code_version: str


ReleaseGroup = Literal["dictionary", "features", "exemplars", "labels", "about"]


class ReleaseFile(FileEntry):
    path: str
    """Where the file goes in the pulled folder."""
    group: ReleaseGroup
    """What a partial pull picks by."""


class ReleaseManifest(Record):
    name: str
    version: str
    release_id: str
    files: list[ReleaseFile]
    lineage: dict[str, str]
    """Ids of the corpus, harvests, fit, features and label run that the release came from."""
    code_version: str


MANIFEST_KINDS: Mapping[str, type[Record]] = {
    "corpora": CorpusManifest,
    "activations": HarvestManifest,
    "dictionaries": DictionaryManifest,
    "features": FeaturesManifest,
    "labels": LabelManifest,
    "evaluations": EvaluationManifest,
    "releases": ReleaseManifest,
}
"""Manifest model by the first part of an artifact's path."""
