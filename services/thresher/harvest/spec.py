"""What to harvest, and how to run it."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import EncodingName, SplitName
from thresher.contracts.row_selection import RowSelection
from thresher.contracts.sites import Site

Operational = {"operational": True}


class EngineSpec(Spec):
    """How each actor runs vLLM. None of it changes which rows are made."""

    max_batch_tokens: Annotated[int, Field(ge=1)] = 4096
    """Tokens of one forward step; longer sequences are prefilled in chunks."""
    max_batch_sequences: Annotated[int, Field(ge=1)] = 64
    """Sequences in flight at once; bounds the rows held in memory."""
    kv_cache_gib: Annotated[float, Field(gt=0)] = 2.0
    """Memory for the KV cache on CPU, in GiB. On GPU vLLM sizes it itself."""
    stop_early: bool = True
    """Leave out the layers above the highest tapped one."""
    taps: Literal["auto", "hooks", "aux"] = "auto"
    """How rows are read: by forward hooks (any site, eager mode), or as the auxiliary outputs that EAGLE-3 models
    give (resid_post alone, keeps CUDA graphs). auto takes aux on GPU where model and sites allow it, else hooks."""
    ring_mib: Annotated[int, Field(ge=1)] = 256
    """Memory between the taps and the store, in MiB; a store slower than the engine fills it and slows the engine."""
    tensor_parallel: Annotated[int, Field(ge=1)] = 1
    """Devices over which each layer is cut; each of these ranks writes shards of its own."""
    pipeline_parallel: Annotated[int, Field(ge=1)] = 1
    """Stages over which the layers are dealt; each writes its own sites."""

    @model_validator(mode="before")
    @classmethod
    def _without_prefix_cache(cls, data: object) -> object:
        for name in ("prefix_caching", "enable_prefix_caching"):
            if isinstance(data, dict) and data.get(name):
                raise SpecError(
                    f"engine.{name}",
                    data[name],
                    allowed="none: it is always off",
                    mend="Tokens that the cache holds never run, so their rows would be missing: remove the key.",
                )
        return data

    @property
    def num_ranks(self) -> int:
        """Processes of an engine, each with a device of its own."""
        return self.tensor_parallel * self.pipeline_parallel


class ActorsSpec(Spec):
    """The Ray actors that hold the engines."""

    count: Annotated[int, Field(ge=1)] = 1
    """Actors, one engine each."""
    num_cpus: Annotated[float, Field(gt=0)] = 2
    """CPUs that Ray reserves an actor; vLLM on CPU uses as many threads."""
    num_gpus: Annotated[float, Field(ge=0)] = 0
    """GPUs that Ray reserves an actor; with several ranks, each rank."""
    max_attempts: Annotated[int, Field(ge=1)] = 3
    """How often a shard is tried before it is given up."""
    max_failed_shards: Annotated[int, Field(ge=0)] = 4
    """Shards that may be given up before the harvest stops; a harvest with any of them fails after the others."""
    max_failed_starts: Annotated[int, Field(ge=1)] = 3
    """Actors in a row that may end before their engine stands; then the harvest ends with the engine's words."""
    drain_s: Annotated[float, Field(ge=0)] = 20
    """How long an actor told to go (spot preemption sends SIGTERM) may take to finish what it has begun."""
    price_per_hour: Annotated[float, Field(ge=0)] = 0
    """Of one actor's resources, in any currency, for the estimate of --dry-run."""


class HarvestSpec(Spec):
    """Run a corpus through a model and store the activations at some sites."""

    root: Annotated[str, Field(json_schema_extra=Operational)]
    """Root of the object store: file:///folder or s3://bucket/prefix."""
    corpus: str
    """Id of the corpus to run."""
    model: Annotated[str, Field(json_schema_extra=Operational)]
    """Folder of the model, at the same path on every node. Its bytes, not its path, enter the id."""
    sites: Annotated[list[str], Field(min_length=1)]
    """Where to read, as kind.layer: resid_post.12."""
    splits: Annotated[tuple[SplitName, ...], Field(min_length=1)] = ("fit", "report")
    """Which splits of the corpus to run."""
    selection: RowSelection = RowSelection()
    """Which rows of those sequences are stored. Sparse codes need all, since exemplars show whole contexts."""
    encoding: EncodingName = "bfloat16"
    """How dense rows are stored. Not used with a dictionary."""
    centre: bool = True
    """Store int8 rows less a mean row and in units of a spread a column, both measured on the first sequences and kept
    in each file. Of no effect on other encodings."""
    dictionary: str | None = None
    """name@version: encode in the worker with this dictionary and store sparse codes alone."""
    sequences_per_shard: Annotated[int, Field(ge=1)] = 64
    """The unit of commit, retry and resume."""
    family: str | None = None
    """Read the model's sites as this architecture's, such as LlamaForCausalLM, where its own is not known."""
    dtype: Annotated[str, Field(pattern="^(bfloat16|float16|float32)$")] = "bfloat16"
    """Compute type of the model: part of what is made."""
    engine: Annotated[EngineSpec, Field(json_schema_extra=Operational)] = EngineSpec()
    """How each actor runs vLLM."""
    actors: Annotated[ActorsSpec, Field(json_schema_extra=Operational)] = ActorsSpec()
    """How many actors, and what each needs."""

    @field_validator("sites")
    @classmethod
    def _sites_are_known(cls, sites: list[str]) -> list[str]:
        for site in sites:
            Site.parse(site)
        if len(set(sites)) != len(sites):
            raise SpecError("sites", sites, mend="Name each site once.")
        return sites

    @model_validator(mode="after")
    def _one_site_a_dictionary(self) -> "HarvestSpec":
        if self.dictionary is not None and len(self.sites) != 1:
            raise SpecError("sites", self.sites, mend="A dictionary reads one site: name just that one.")
        return self

    @model_validator(mode="after")
    def _options_fit_together(self) -> "HarvestSpec":
        if self.dictionary is not None and not self.selection.keeps_all:
            raise SpecError(
                "selection",
                self.selection.model_dump(exclude_defaults=True),
                mend="Sparse codes are stored of whole sequences: leave the selection out, and set min_position of "
                "the features instead.",
            )
        return self
