"""What an evaluation by splicing measures, and on which text."""

from typing import Annotated

from pydantic import Field, field_validator

from thresher.config import Spec
from thresher.contracts.manifests import SplitName
from thresher.contracts.names import parse_reference

Operational = {"operational": True}


class EvaluateSpec(Spec):
    """Splice a dictionary's reconstruction into its model: cross-entropy and KL recovered."""

    root: Annotated[str, Field(json_schema_extra=Operational)]
    """Root of the object store: file:///folder or s3://bucket/prefix."""
    dictionary: str
    """name@version of the dictionary."""
    model: Annotated[str, Field(json_schema_extra=Operational)]
    """Folder of the very model that was harvested, run in float32; one of them, where a crosscoder is of several."""
    other_models: Annotated[list[str], Field(default_factory=list, json_schema_extra=Operational)]
    """Folders of the further models of a crosscoder of several, in any order: each is known by its hashes."""
    corpus: str | None = None
    """Id of the corpus to predict; null is the one that was harvested."""
    split: SplitName = "report"
    """Sequences of this split of the corpus."""
    num_tokens: Annotated[int, Field(gt=0)] = 65_536
    """Tokens to run, rounded up to whole sequences; all of the split where it has fewer."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the draw of sequences and of the bootstrap."""
    num_resamples: Annotated[int, Field(ge=100)] = 1000
    """Of the bootstrap over sequences that gives the 95 % intervals."""
    batch_tokens: Annotated[int, Field(gt=0, json_schema_extra=Operational)] = 2048
    """Tokens of one forward pass, at most; one sequence at least. Fewer where the vocabulary is large."""
    use_gpu: Annotated[bool, Field(json_schema_extra=Operational)] = False
    """Run on a CUDA device."""

    @field_validator("dictionary")
    @classmethod
    def _dictionary_is_a_reference(cls, dictionary: str) -> str:
        parse_reference("dictionary", dictionary)
        return dictionary
