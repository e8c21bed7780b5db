"""One label for every selected feature, or the state that stands in its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from thresher.contracts.exemplars import FIRING_KINDS
from thresher.contracts.ids import content_id
from thresher.contracts.states import State
from thresher.labeling.budget.account import charged_to
from thresher.labeling.exemplars.book import ExemplarBook
from thresher.labeling.exemplars.evidence import Evidence
from thresher.labeling.exemplars.exemplar import sample_sha256
from thresher.labeling.explainers.choice import CandidateChooser, Chosen
from thresher.labeling.explainers.explainer import Candidate, Explainer, Provenance
from thresher.labeling.explainers.phrase import Phrase
from thresher.labeling.explainers.single_token import SingleTokenExplainer
from thresher.labeling.selection import SelectedFeature
from thresher.labeling.spec import LabelSpec
from thresher.labeling.workers import ITEMS_PER_SLOT, map_bounded
from thresher.runtime.progress import Meter


@dataclass(frozen=True)
class Label:
    """A row of the labels table, without what all rows of a run share."""

    label_id: str
    feature: int
    text: str | None
    state: State
    provenance: Provenance
    exemplars_sha256: str
    num_candidates: int
    received_at: datetime | None
    """When the answer was stored; None where none was asked for."""


class LabelMaker:
    """Labels each feature that has enough exemplars: by rule if it is one of a single token, else by the explainer.

    Args:
        chooser: chooses among several candidates.
    """

    def __init__(
        self, spec: LabelSpec, book: ExemplarBook, explainer: Explainer, chooser: CandidateChooser
    ) -> None:
        self._spec, self._book, self._explainer, self._chooser = spec, book, explainer, chooser
        self._by_rule = SingleTokenExplainer(spec.single_token) if spec.single_token is not None else None

    async def make(self, features: Sequence[SelectedFeature], meter: Meter) -> list[Label]:
        """Labels in the order of the features.

        Raises:
            EndpointError: the endpoint is down or refuses; what was answered is stored.
        """

        async def one(selected: SelectedFeature) -> Label:
            with charged_to(selected.feature):
                label = await self._label(selected)
            meter.advance(1)
            return label

        return await map_bounded(one, features, ITEMS_PER_SLOT * self._spec.explainer_endpoint.concurrency)

    async def _label(self, selected: SelectedFeature) -> Label:
        evidence = self._book.evidence(selected.feature)
        state = self._state_before(selected, evidence)
        if state != State.OK:
            return self._row(evidence, Chosen(Candidate(Phrase(state, None), self._explainer.provenance, ())))
        by_rule = self._by_rule.explain(evidence) if self._by_rule is not None else None
        if by_rule is not None:
            return self._row(evidence, Chosen(by_rule))
        candidates = await self._explainer.explain(evidence)
        return self._row(evidence, await self._chooser.choose(candidates, evidence))

    def _state_before(self, selected: SelectedFeature, evidence: Evidence) -> State:
        if selected.state != State.OK:
            return selected.state
        num_firing = min(len(evidence.of(split, FIRING_KINDS)) for split in ("explain", "report"))
        return State.OK if num_firing >= self._spec.features.min_exemplars else State.TOO_RARE

    def _row(self, evidence: Evidence, chosen: Chosen) -> Label:
        candidate = chosen.candidate
        phrase, provenance = candidate.phrase, candidate.provenance
        exemplars = sample_sha256(candidate.shown)
        parts = {
            "dictionary": self._spec.dictionary,
            "feature": evidence.feature,
            "method": provenance.method,
            "explainer_model": provenance.model,
            "explainer_revision": provenance.revision,
            "prompt_sha256": provenance.prompt_sha256,
            "exemplars_sha256": exemplars,
            "decoding": provenance.decoding,
            "state": phrase.state,
            "text": phrase.text,
        }
        return Label(
            label_id=content_id("label", parts),
            feature=evidence.feature,
            text=phrase.text,
            state=phrase.state,
            provenance=provenance,
            exemplars_sha256=exemplars,
            num_candidates=chosen.num_candidates,
            received_at=candidate.answers[-1].received_at if candidate.answers else None,
        )
