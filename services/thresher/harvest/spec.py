"""What to harvest, and how to run it."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import EncodingName, SplitName
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


class ActorsSpec(Spec):
    """The Ray actors that hold the engines."""

    count: Annotated[int, Field(ge=1)] = 1
    """Actors, one engine each."""
    num_cpus: Annotated[float, Field(gt=0)] = 2
    """CPUs that Ray reserves an actor; vLLM on CPU uses as many threads."""
    num_gpus: Annotated[float, Field(ge=0)] = 0
    """GPUs that Ray reserves an actor."""
    max_attempts: Annotated[int, Field(ge=1)] = 3
    """How often a shard is tried before the harvest fails and names it."""


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
    encoding: EncodingName = "bfloat16"
    """How dense rows are stored. Not used with a dictionary."""
    dictionary: str | None = None
    """name@version: encode in the worker with this dictionary and store sparse codes alone."""
    sequences_per_shard: Annotated[int, Field(ge=1)] = 64
    """The unit of commit, retry and resume."""
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
