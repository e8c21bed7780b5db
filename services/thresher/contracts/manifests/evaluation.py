"""What a dictionary costs its model when it is spliced in."""

from typing import Any

from pydantic import model_validator

from thresher.contracts.manifests.harvest import DictionaryRef, ModelIdentity
from thresher.contracts.manifests.record import Record


class Interval(Record):
    """An estimate and its 95 % interval; null where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


class SpliceMetrics(Record):
    """Of a model whose rows at some sites are replaced; nats a predicted token. docs/metrics.md defines each."""

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
    """Of the rows to be replaced, as the model gives them in float32; pooled over the columns of all sites replaced."""
    l0: float
    """Active latents a row that is read: mean, over the sites too where each is read by itself."""


class SpliceResult(Record):
    """Of sites of one model whose rows are replaced together."""

    model: ModelIdentity
    """Whose rows are replaced."""
    input_sites: list[str]
    """What the dictionary reads to reconstruct them; a crosscoder's in the order of its columns, of every model."""
    output_sites: list[str]
    """What is replaced."""
    num_spliced_rows: int
    """Rows replaced, of all sites: those of the positions that the dictionary was fitted on."""
    metrics: SpliceMetrics


class EvaluationManifest(Record):
    evaluation_id: str
    spec: dict[str, Any]
    dictionary: DictionaryRef
    corpus_id: str
    num_sequences: int
    num_predictions: int
    """Tokens predicted: all but the first of each sequence."""
    results: list[SpliceResult]
    """One of an autoencoder or a transcoder. Of several sites: each by itself, then all of a model at once."""
    code_version: str

    @model_validator(mode="before")
    @classmethod
    def _read_a_single_result(cls, data: Any) -> Any:
        """Before there were dictionaries of several sites, the manifest itself was the one result."""
        if not isinstance(data, dict) or "metrics" not in data:
            return data
        kept = dict(data)
        result = {name: kept.pop(name) for name in ("model", "num_spliced_rows", "metrics") if name in kept}
        result |= {f"{side}_sites": [kept.pop(f"{side}_site", None)] for side in ("input", "output")}
        return {**kept, "results": [result]}
