"""The subject of a run, for its explainer and its scorers. torch is imported once one of them asks for it."""

from functools import cached_property
from typing import TYPE_CHECKING

from thresher.contracts.errors import SpecError
from thresher.contracts.states import State
from thresher.labeling.exchanges import Exchanges
from thresher.labeling.explainers.spec import SelfExplainingSpec
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.opening import OpenRun
from thresher.labeling.scorers.spec import GenerationSpec, SteeringSpec
from thresher.labeling.selection import select_features
from thresher.labeling.spec import SelectionSpec
from thresher.labeling.subject.continuing import SubjectContinuing, control_pool
from thresher.labeling.subject.firing import SubjectFiring
from thresher.labeling.subject.requests import SteeringTerms

if TYPE_CHECKING:
    from thresher.labeling.subject.opening import SubjectRoom


class RunSubjects:
    """Opens the subject for the features of a run; one model, however many ask it."""

    def __init__(self, run: OpenRun, exchanges: Exchanges) -> None:
        self._run, self._exchanges = run, exchanges

    def patching(self, spec: SelfExplainingSpec) -> Exchange:
        """For an explainer. Raises: as SubjectRoom.for_patching."""
        return self._room.for_patching("explainer", spec.model, spec.layer)

    def firing(self, spec: GenerationSpec) -> SubjectFiring:
        """For generation. Raises: as SubjectRoom.for_encoding."""
        opened = self._room.for_encoding("generation", spec.model)
        return SubjectFiring(opened.exchange, opened.ground, "generation")

    def continuing(self, spec: SteeringSpec) -> SubjectContinuing:
        """For steering. Raises: as SubjectRoom.for_steering; also SpecError: no other feature fires."""
        run = self._run
        every = select_features(run.store, run.features, SelectionSpec(count=None))
        live = [item.feature for item in every if item.state == State.OK]
        if len(live) < 2:
            mend = "A feature is compared to others, and no other fires: set steering to null."
            raise SpecError("steering", len(live), mend=mend)
        pool = control_pool(live, self._wanted, spec.num_controls, run.spec.seed)
        opened = self._room.for_steering("steering", spec.model, pool)
        terms = SteeringTerms(spec.strength, spec.max_tokens)
        return SubjectContinuing(opened.exchange, opened.ground, "steering", terms, pool, run.spec.seed)

    @property
    def _wanted(self) -> list[int]:
        return [item.feature for item in self._run.selected]

    @cached_property
    def _room(self) -> "SubjectRoom":
        from thresher.labeling.subject.opening import SubjectRoom

        run = self._run
        return SubjectRoom(run.store, run.features, self._wanted, self._exchanges.around)
