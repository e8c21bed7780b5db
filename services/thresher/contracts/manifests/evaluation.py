"""What a dictionary costs its model when it is spliced in."""

from typing import Any

from thresher.contracts.manifests.harvest import DictionaryRef, ModelIdentity
from thresher.contracts.manifests.record import Record


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
