"""Encode: a sparse harvest of held-out text in vLLM's worker, then statistics and exemplars of its codes."""

from typing import Annotated

from pydantic import Field

from thresher.config import Spec
from thresher.contracts.manifests import FeaturesManifest
from thresher.features.spec import FeatureOptions, FeaturesSpec
from thresher.harvest.spec import ActorsSpec, EngineSpec, HarvestSpec

Operational = {"operational": True}


class EncodeSpec(Spec):
    """Run the held-out splits of a corpus through a model and a dictionary, and describe every feature."""

    root: Annotated[str, Field(json_schema_extra=Operational)]
    """Root of the object store: file:///folder or s3://bucket/prefix."""
    corpus: str
    """Id of the corpus whose explain and report splits are run."""
    model: Annotated[str, Field(json_schema_extra=Operational)]
    """Folder of the model, at the same path on every node."""
    dictionary: str
    """name@version of the dictionary that encodes."""
    site: str
    """The site that the dictionary was fitted on."""
    sequences_per_shard: Annotated[int, Field(ge=1)] = 64
    """The unit of commit, retry and resume."""
    dtype: Annotated[str, Field(pattern="^(bfloat16|float16|float32)$")] = "bfloat16"
    """Compute type of the model."""
    features: FeatureOptions = FeatureOptions()
    """What to keep of each feature."""
    engine: Annotated[EngineSpec, Field(json_schema_extra=Operational)] = EngineSpec()
    """How each actor runs vLLM."""
    actors: Annotated[ActorsSpec, Field(json_schema_extra=Operational)] = ActorsSpec()
    """How many actors, and what each needs."""

    def harvest_spec(self) -> HarvestSpec:
        """The sparse harvest that this needs."""
        return HarvestSpec(
            root=self.root,
            corpus=self.corpus,
            model=self.model,
            sites=[self.site],
            splits=["explain", "report"],
            dictionary=self.dictionary,
            sequences_per_shard=self.sequences_per_shard,
            dtype=self.dtype,
            engine=self.engine,
            actors=self.actors,
        )


def encode(spec: EncodeSpec) -> FeaturesManifest:
    """Make the features of a dictionary on a corpus, or find them made."""
    from thresher.features.build import build_features
    from thresher.harvest.coordinator import harvest

    sparse = harvest(spec.harvest_spec())
    return build_features(
        FeaturesSpec(
            root=spec.root,
            harvest=sparse.harvest_id,
            tokenizer=spec.model,
            model=spec.model,
            **dict(spec.features),
        )
    )
