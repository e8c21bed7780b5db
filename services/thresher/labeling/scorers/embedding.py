"""Embedding: is the label nearer to texts in which the feature fires than to others?

The label is the query, the texts are the documents; the score is the share of pairs, of a firing and a silent text, in
which the firing one is nearer (AUROC), which needs no threshold. Cheap: each text is embedded once for all labels.
Source: Paulo et al. (2024), section 3.3.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from thresher.contracts.exemplars import HARD_NEGATIVE_KINDS, SILENT_KINDS, ExemplarKind
from thresher.contracts.ids import sha256_hex
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.observations import Observations
from thresher.labeling.scorers.reading import FloatArray, Reading, Sampling, Trial, single_trials, verdict
from thresher.labeling.scorers.scorer import ask_all
from thresher.labeling.scorers.spec import EmbeddingSpec
from thresher.labeling.scorers.statistics import auroc


class EmbeddingScorer:
    """Scores labels by similarity of embeddings; chance is 0.5."""

    name = "embedding"
    uses_label = True

    def __init__(
        self, spec: EmbeddingSpec, tokenizer: PromptTokenizer, exchange: Exchange, sampling: Sampling
    ) -> None:
        self._spec, self._tokenizer, self._exchange, self._sampling = spec, tokenizer, exchange, sampling
        self.prompt_sha256 = prefixes_sha256(spec)

    @property
    def endpoint(self) -> EndpointSpec:
        return self._exchange.endpoint

    def trials(self, feature: int, exemplars: Sequence[Exemplar]) -> list[Trial]:
        num_top = (self._spec.num_active + 1) // 2
        counts: list[tuple[ExemplarKind, int]] = [
            ("top", num_top),
            ("quantile", self._spec.num_active - num_top),
            ("negative", self._spec.num_inactive),
        ]
        if any(item.kind == "text_near" for item in exemplars):
            counts.append(("text_near", self._spec.num_hard))
        return single_trials(feature, exemplars, counts, self._sampling, self._spec.tokens_per_context)

    def requests(self, label: str, trials: Sequence[Trial]) -> list[ModelRequest]:
        """The label, then the texts of each batch: of one batch, the same for every label."""
        batches = sorted({trial.batch for trial in trials})
        texts = [[self._text(trial) for trial in trials if trial.batch == batch] for batch in batches]
        return [self._request([self._spec.query_prefix + label]), *map(self._request, texts)]

    async def observe(self, label: str, trials: Sequence[Trial]) -> list[Reading]:
        query, *documents = await ask_all(self._exchange, self.requests(label, trials))
        label_D = _unit_vectors(query)[0]
        near_N = np.concatenate([_unit_vectors(answer) @ label_D for answer in documents])
        in_order = sorted(trials, key=lambda trial: trial.batch)
        near = {trial.number: float(value) for trial, value in zip(in_order, near_N, strict=True)}
        return [
            verdict(trial, trial.contexts[0].kind not in SILENT_KINDS, near[trial.number]) for trial in trials
        ]

    def measures(self, readings: Sequence[Reading]) -> Mapping[str, Observations]:
        plain = [item for item in readings if item.kind not in HARD_NEGATIVE_KINDS]
        measures = {self.name: auroc(plain)}
        if len(plain) < len(readings):
            measures[f"{self.name}_hard"] = auroc([item for item in readings if item.kind != "negative"])
        return measures

    def _text(self, trial: Trial) -> str:
        return self._spec.document_prefix + " ".join(trial.contexts[0].text.split())

    def _request(self, texts: Sequence[str]) -> ModelRequest:
        endpoint = self._exchange.endpoint
        return ModelRequest(
            purpose=self.name,
            model=endpoint.model,
            revision=endpoint.revision,
            body={"model": endpoint.model, "input": list(texts)},
            max_total_tokens=sum(2 * len(self._tokenizer.encode(text)) + 8 for text in texts),
        )


def prefixes_sha256(spec: EmbeddingSpec) -> str:
    """What stands for a prompt's hash: what texts and labels are prefixed with."""
    return sha256_hex(f"{spec.query_prefix}\0{spec.document_prefix}".encode())


def _unit_vectors(answer: Answer) -> FloatArray:
    """Rows of length 1; a vector of zeros is near to nothing."""
    vectors_ND = np.array([item["embedding"] for item in answer.body["data"]], np.float64)
    lengths_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    unit_ND: FloatArray = vectors_ND / np.where(lengths_N1 > 0, lengths_N1, 1.0)
    return unit_ND
