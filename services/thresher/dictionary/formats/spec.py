"""Which dictionary to import, and where it belongs."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic.config import JsonDict

from thresher.config import Spec
from thresher.contracts.manifests import SplitName
from thresher.contracts.names import check_name
from thresher.contracts.sites import check_site_name

OPERATIONAL: JsonDict = {"operational": True}

FormatName = Literal["saelens", "sparsify", "dictionary_learning", "gemma_scope", "thresher"]


class SourceSpec(Spec):
    """The folder that is read."""

    format: FormatName
    """What wrote it."""
    path: str = Field(json_schema_extra=OPERATIONAL)
    """A local folder, or s3://bucket/prefix; its files are known by their hashes."""
    input_scale: float | None = Field(default=None, gt=0)
    """What rows were multiplied by in training, where the weights still expect it: sqrt(width) over the mean norm for
    SAELens' expected_average_only_in. Folded into the weights."""


class ImportDictionarySpec(Spec):
    """Import a dictionary that another tool made, as name@version."""

    root: str = Field(json_schema_extra=OPERATIONAL)
    """Store of the dictionary: file:///… or s3://bucket/prefix."""
    name: str
    """Name of the dictionary."""
    version: str | None = Field(default=None, json_schema_extra=OPERATIONAL)
    """Version of that name; null is the one imported from these files already, or else the next free number."""
    source: SourceSpec
    """What is imported."""
    site: str | None = None
    """Site that it reads, such as resid_post.12; null where the folder says it."""
    output_site: str | None = None
    """Site that a transcoder writes; null for an autoencoder, and where the folder says it."""
    model: str | None = Field(default=None, json_schema_extra=OPERATIONAL)
    """Folder of the model: its widths are checked, and its hashes enter the dictionary's lineage."""
    model_name: str | None = None
    """What the model is called, where neither `model` nor the folder says it."""
    harvest: str | None = None
    """Id of a dense harvest of the sites: widths are checked, and quality is measured on its held-out rows."""
    holdout_split: SplitName = "report"
    """Rows to measure on."""
    cache_dir: str = Field(default="/tmp/thresher/shards", json_schema_extra=OPERATIONAL)
    """Local folder for shards of a remote store."""

    @field_validator("site", "output_site")
    @classmethod
    def _site_is_well_formed(cls, site: str | None, info: ValidationInfo) -> str | None:
        return None if site is None else check_site_name(str(info.field_name), site)

    @field_validator("name", "version")
    @classmethod
    def _name_is_well_formed(cls, text: str | None, info: ValidationInfo) -> str | None:
        return None if text is None else check_name(str(info.field_name), text)
