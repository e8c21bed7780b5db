"""One label for every selected feature, or the state that stands in its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from thresher.contracts.exemplars import FIRING_KINDS
from thresher.contracts.ids import content_id
from thresher.contracts.states import State
from thresher.labeling.budget.budget import BudgetExhaustedError
from thresher.labeling.endpoints.requests import RequestFailedError
from thresher.labeling.exemplars.book import Exemplar, ExemplarBook, sample_sha256
from thresher.labeling.explainers.activations import ActivationsExplainer
from thresher.labeling.selection import SelectedFeature
from thresher.labeling.spec import LabelSpec
from thresher.labeling.workers import map_bounded
from thresher.runtime.progress import Meter


@dataclass(frozen=True)
class Label:
    """A row of the labels table, without what all rows of a run share."""

    label_id: str
    feature: int
    text: str | None
    state: State
    exemplars_sha256: str
    received_at: datetime | None
    """When the answer was stored; None where none was asked for."""


class LabelMaker:
    """Asks the explainer about each feature that has enough exemplars."""

    def __init__(self, spec: LabelSpec, book: ExemplarBook, explainer: ActivationsExplainer) -> None:
        self._spec, self._book, self._explainer = spec, book, explainer

    async def make(self, features: Sequence[SelectedFeature], meter: Meter) -> list[Label]:
        """Labels in the order of the features.

        Raises:
            EndpointError: the endpoint is down or refuses; what was answered is stored.
        """

        async def one(selected: SelectedFeature) -> Label:
            label = await self._label(selected)
            meter.advance(1)
            return label

        return await map_bounded(one, features, self._spec.explainer_endpoint.concurrency)

    async def _label(self, selected: SelectedFeature) -> Label:
        explain = self._book.of(selected.feature, "explain")
        shown = self._explainer.exemplars(explain)
        state = self._state_before(selected, explain)
        if state != State.OK:
            return self._row(selected.feature, None, state, [], None)
        try:
            phrase, answer = await self._explainer.explain(shown)
        except BudgetExhaustedError:
            return self._row(selected.feature, None, State.OVER_BUDGET, shown, None)
        except RequestFailedError:
            return self._row(selected.feature, None, State.API_ERROR, shown, None)
        return self._row(selected.feature, phrase.text, phrase.state, shown, answer.received_at)

    def _state_before(self, selected: SelectedFeature, explain: Sequence[Exemplar]) -> State:
        if selected.state != State.OK:
            return selected.state
        least = self._spec.features.min_exemplars
        splits = (explain, self._book.of(selected.feature, "report"))
        num_firing = min(sum(item.kind in FIRING_KINDS for item in split) for split in splits)
        return State.OK if num_firing >= least else State.TOO_RARE

    def _row(
        self,
        feature: int,
        text: str | None,
        state: State,
        shown: Sequence[Exemplar],
        received_at: datetime | None,
    ) -> Label:
        exemplars = sample_sha256(shown)
        endpoint = self._spec.explainer_endpoint
        parts = {
            "dictionary": self._spec.dictionary,
            "feature": feature,
            "method": self._spec.explainer.method,
            "explainer_model": endpoint.model,
            "explainer_revision": endpoint.revision,
            "prompt_sha256": self._explainer.prompt_sha256,
            "exemplars_sha256": exemplars,
            "decoding": self._explainer.decoding,
            "state": state,
            "text": text,
        }
        return Label(content_id("label", parts), feature, text, state, exemplars, received_at)
