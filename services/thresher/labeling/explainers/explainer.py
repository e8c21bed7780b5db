"""What an explainer is, and what it gives: candidates for a label, each with where it comes from."""

from dataclasses import dataclass
from typing import Protocol

from thresher.contracts.states import State
from thresher.labeling.endpoints.requests import Answer, ModelRequest
from thresher.labeling.exemplars.evidence import Evidence
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.explainers.phrase import Phrase


@dataclass(frozen=True)
class Provenance:
    """How a label was written.

    Args:
        method: name of the explainer.
        model, revision: who wrote it.
        prompt_sha256: the words it was asked with, without what they were filled with.
        decoding: how the answer was sampled, as canonical JSON.
    """

    method: str
    model: str
    revision: str
    prompt_sha256: str
    decoding: str


@dataclass(frozen=True)
class Candidate:
    """A possible label of a feature, or the state that stands in its place.

    Args:
        phrase: its text; or refused, unparsable, api_error or over_budget.
        provenance: how it was written.
        shown: the exemplars that it was written from.
        answers: what was answered on the way, the last one last; empty if no model was asked.
    """

    phrase: Phrase
    provenance: Provenance
    shown: tuple[Exemplar, ...]
    answers: tuple[Answer, ...] = ()

    @property
    def is_ok(self) -> bool:
        return self.phrase.state == State.OK


class Explainer(Protocol):
    """A way to write labels."""

    @property
    def provenance(self) -> Provenance:
        """Of its first candidate; what a label in any other state is recorded with."""

    def shown(self, evidence: Evidence) -> list[Exemplar]:
        """The exemplars that its first candidate is written from; of the explain split, always."""

    def requests(self, evidence: Evidence) -> list[ModelRequest]:
        """What it will ask, as far as it is known before the first answer."""

    async def explain(self, evidence: Evidence) -> list[Candidate]:
        """At least one candidate. A request that fails, or that the budget forbids, gives one in that state.

        Raises:
            EndpointError: the endpoint is down or refuses; what was answered is stored.
        """
