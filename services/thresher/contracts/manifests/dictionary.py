"""A dictionary: what it is of, how good it is, where it came from."""

from typing import Any, Literal

from pydantic import Field

from thresher.contracts.manifests.harvest import DictionaryRef
from thresher.contracts.manifests.metrics import ReconstructionMetrics
from thresher.contracts.manifests.record import FileEntry, Record

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
    mixture: list[MixedHarvest] = Field(default_factory=list)
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
