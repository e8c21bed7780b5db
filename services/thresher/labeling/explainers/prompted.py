"""An explainer that shows a chat model some evidence and asks for a phrase. What it shows is up to its writer."""

from typing import Protocol

from thresher.contracts.states import State
from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.exemplars.evidence import Evidence
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.explainers.asking import PhraseAsker
from thresher.labeling.explainers.explainer import Candidate, Provenance
from thresher.labeling.explainers.phrase import Phrase
from thresher.labeling.templates import Template
from thresher.labeling.workers import map_bounded


class QuestionWriter(Protocol):
    """Makes a question of evidence."""

    @property
    def method(self) -> str:
        """Of the explainer."""

    @property
    def template(self) -> Template:
        """The words of the question."""

    def shown(self, evidence: Evidence) -> list[Exemplar]:
        """The explain exemplars that the question shows."""

    def question(self, evidence: Evidence) -> str | None:
        """The question; None if the evidence has nothing to show."""


class PromptedExplainer:
    """Draws one candidate or several with the same question."""

    def __init__(self, writer: QuestionWriter, asker: PhraseAsker, num_candidates: int) -> None:
        self._writer, self._asker, self._num_candidates = writer, asker, num_candidates

    @property
    def provenance(self) -> Provenance:
        return self._provenance(0)

    def shown(self, evidence: Evidence) -> list[Exemplar]:
        return self._writer.shown(evidence)

    def requests(self, evidence: Evidence) -> list[ModelRequest]:
        question = self._writer.question(evidence)
        if question is None:
            return []
        return [self._asker.request(question, draw) for draw in range(self._num_candidates)]

    async def explain(self, evidence: Evidence) -> list[Candidate]:
        question, shown = self._writer.question(evidence), tuple(self.shown(evidence))
        if question is None:
            return [Candidate(Phrase(State.UNDEFINED, None), self.provenance, shown)]

        async def draw(index: int) -> Candidate:
            asked = await self._asker.ask(question, index)
            return Candidate(asked.phrase, self._provenance(index), shown, asked.answers)

        return await map_bounded(draw, range(self._num_candidates), self._num_candidates)

    def _provenance(self, draw: int) -> Provenance:
        return self._asker.provenance(self._writer.method, [self._writer.template], draw)
