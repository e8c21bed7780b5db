"""Generation: does the feature fire on texts that are written from its label, and on no others?

A model writes texts that show what the label describes, and texts that are free of it. The model that the dictionary
is of reads them, and the largest activation of each is what is observed. Detection asks whether a label fits texts on
which the feature is known to fire; here it must be enough to make such texts, so that a label that is too broad fails.
Source: Juang et al., Open source automated interpretability for sparse autoencoder features (2024), generation scoring;
Gur-Arieh et al. (2025), section 3, input-based evaluation; Puri et al., FADE (2025), clarity; Huang et al., Rigorously
assessing natural language explanations of neurons (2023), for precision and recall.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from thresher.contracts.ids import canonical_json, sha256_hex
from thresher.labeling.budget.budget import BudgetExhaustedError
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.requests import ModelRequest, RequestFailedError
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.observations import Observations
from thresher.labeling.scorers.reading import Reading, Sampling, Trial, peak_of
from thresher.labeling.scorers.scorer import all_of
from thresher.labeling.scorers.spec import GenerationSpec
from thresher.labeling.scorers.statistics import auroc, precision, recall
from thresher.labeling.scorers.writing import MAX_CHARACTERS, TEMPLATES, TextWriter
from thresher.labeling.subject.firing import Firing

PROMPT_SHA256 = sha256_hex(canonical_json([template.sha256 for template in TEMPLATES]).encode())


@dataclass(frozen=True)
class Draw:
    """What was written at once: texts on which the feature should fire, and texts on which it should not."""

    fires: tuple[str, ...]
    silent: tuple[str, ...]


class GenerationScorer:
    """Scores labels by texts made of them. A trial is a draw of both kinds; its origin names it.

    A draw depends on the label and the seed alone: texts of a label are written once, for its own feature and for all
    on which it is tried as a shuffled one.
    """

    name = "generation"
    uses_label = True
    prompt_sha256 = PROMPT_SHA256

    def __init__(
        self,
        spec: GenerationSpec,
        tokenizer: PromptTokenizer,
        exchange: Exchange,
        sampling: Sampling,
        firing: Firing,
    ) -> None:
        self._spec, self._exchange, self._sampling, self._firing = spec, exchange, sampling, firing
        self._writer = TextWriter(spec, tokenizer, exchange, self.name, sampling.seed)

    @property
    def endpoint(self) -> EndpointSpec:
        return self._exchange.endpoint

    def trials(self, feature: int, exemplars: Sequence[Exemplar]) -> list[Trial]:
        peak = peak_of(exemplars)
        count = self._spec.num_requests
        return [
            Trial(feature, number // count, number, (), peak, f"draw {number}")
            for number in range(count * self._sampling.num_batches)
        ]

    def requests(self, label: str, trials: Sequence[Trial]) -> list[ModelRequest]:
        """Of the subject, those about texts as long as they may be."""
        longest = ["x" * MAX_CHARACTERS] * (2 * self._spec.texts_per_request)
        return [
            request
            for trial in trials
            for request in (
                self._writer.request(label, trial.number, fires=True),
                self._writer.request(label, trial.number, fires=False),
                *self._firing.requests(trial.feature, longest),
            )
        ]

    async def observe(self, label: str, trials: Sequence[Trial]) -> list[Reading]:
        num_draws = 1 + max(trial.number for trial in trials)
        # With the draws before, which are stored: what is written again is no new text.
        draws = distinct(label, await all_of(self._draw(label, number) for number in range(num_draws)))
        return await all_of(self._reading(trial, draws[trial.number]) for trial in trials)

    async def write_ahead(self, label: str) -> None:
        """Have the texts of the first batch written and stored, before the label is tried on any feature.

        What fails, or is not paid for, is asked for again by whoever tries the label. Raises: EndpointError.
        """
        try:
            await all_of(self._draw(label, number) for number in range(self._spec.num_requests))
        except (BudgetExhaustedError, RequestFailedError):
            return

    def measures(self, readings: Sequence[Reading]) -> Mapping[str, Observations]:
        least = self._spec.min_share
        fired = [replace(item, truth_N=(item.truth_N > least).astype(np.float64)) for item in readings]
        return {
            self.name: auroc([_by_intent(item) for item in readings]),
            f"{self.name}_precision": precision(fired),
            f"{self.name}_recall": recall(fired),
        }

    async def _draw(self, label: str, number: int) -> Draw:
        fires, silent = await all_of(self._writer.texts(label, number, fires=kind) for kind in (True, False))
        return Draw(fires, silent)

    async def _reading(self, trial: Trial, draw: Draw) -> Reading:
        """As many observations of each kind as texts were asked for; those that are missing are unparsed."""
        largest = await self._firing.largest(trial.feature, [*draw.fires, *draw.silent])
        count = self._spec.texts_per_request
        truth_N, predicted_N = np.zeros(2 * count), np.full(2 * count, np.nan)
        places = [*range(len(draw.fires)), *range(count, count + len(draw.silent))]
        for place, activation in zip(places, largest, strict=True):
            if activation is not None:
                truth_N[place], predicted_N[place] = activation / trial.peak, place < count
        return Reading(trial.document, truth_N, predicted_N)


def distinct(label: str, draws: Sequence[Draw]) -> list[Draw]:
    """Each text where it was written first, whatever its case; the label itself is none."""
    seen = {label.casefold()}

    def new(texts: Sequence[str]) -> tuple[str, ...]:
        kept = tuple(text for text in texts if text.casefold() not in seen)
        seen.update(text.casefold() for text in kept)
        return kept

    return [Draw(new(draw.fires), new(draw.silent)) for draw in draws]


def _by_intent(reading: Reading) -> Reading:
    """What should fire, ranked by how strongly it does: for AUROC, which takes the classes from the truth."""
    is_read_N = ~np.isnan(reading.predicted_N)
    return replace(
        reading,
        truth_N=np.where(is_read_N, reading.predicted_N, 0.0),
        predicted_N=np.where(is_read_N, reading.truth_N, np.nan),
    )
