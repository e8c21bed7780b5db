"""Several explainers: all their candidates, or one phrase made of theirs.

Source: Gur-Arieh et al., Enhancing Automated Interpretability with Output-Centric Feature Descriptions (2025), section
4: descriptions from inputs and from outputs together are better than either.
"""

from collections.abc import Sequence

from thresher.labeling.endpoints.requests import ModelRequest
from thresher.labeling.exemplars.evidence import Evidence
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.explainers.asking import PhraseAsker
from thresher.labeling.explainers.explainer import Candidate, Explainer, Provenance
from thresher.labeling.shown_text import plain
from thresher.labeling.templates import load_template
from thresher.labeling.workers import map_bounded

TEMPLATE = load_template("explain-ensemble-v1")
METHOD = "ensemble"


class KeepingEnsemble:
    """Keeps every member's candidates, each with its member's provenance."""

    def __init__(self, members: Sequence[Explainer]) -> None:
        self._members = members

    @property
    def provenance(self) -> Provenance:
        return self._members[0].provenance

    def shown(self, evidence: Evidence) -> list[Exemplar]:
        return self._members[0].shown(evidence)

    def requests(self, evidence: Evidence) -> list[ModelRequest]:
        return [request for member in self._members for request in member.requests(evidence)]

    async def explain(self, evidence: Evidence) -> list[Candidate]:
        async def ask(member: Explainer) -> list[Candidate]:
            return await member.explain(evidence)

        found = await map_bounded(ask, self._members, len(self._members))
        return [candidate for of_member in found for candidate in of_member]


class MergingEnsemble:
    """Has the members' phrases merged into one, or into several by several draws.

    Where all that members say is one phrase, that stands, and nobody is asked to merge it.
    """

    def __init__(self, members: Sequence[Explainer], asker: PhraseAsker, num_candidates: int) -> None:
        self._all, self._asker, self._num_candidates = KeepingEnsemble(members), asker, num_candidates

    @property
    def provenance(self) -> Provenance:
        return self._provenance(0)

    def shown(self, evidence: Evidence) -> list[Exemplar]:
        return self._all.shown(evidence)

    def requests(self, evidence: Evidence) -> list[ModelRequest]:
        """With requests to merge phrases that stand in for those to come."""
        asked = self._all.requests(evidence)
        typical = _question(["references to the names of places and people"] * max(len(asked), 1))
        return asked + [self._asker.request(typical, draw) for draw in range(self._num_candidates)]

    async def explain(self, evidence: Evidence) -> list[Candidate]:
        found = await self._all.explain(evidence)
        usable = [item for item in found if item.is_ok]
        phrases = list(dict.fromkeys(item.phrase.text for item in usable if item.phrase.text is not None))
        if len(phrases) < 2:
            return (usable or found)[:1]
        shown = tuple({id(item): item for candidate in found for item in candidate.shown}.values())
        before = tuple(answer for candidate in found for answer in candidate.answers)

        async def draw(index: int) -> Candidate:
            asked = await self._asker.ask(_question(phrases), index)
            return Candidate(asked.phrase, self._provenance(index), shown, before + asked.answers)

        return await map_bounded(draw, range(self._num_candidates), self._num_candidates)

    def _provenance(self, draw: int) -> Provenance:
        return self._asker.provenance(METHOD, [TEMPLATE], draw)


def _question(phrases: Sequence[str]) -> str:
    return TEMPLATE.fill(phrases="\n".join(f"- {plain(phrase)}" for phrase in phrases))
