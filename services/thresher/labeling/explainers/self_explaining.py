"""Self-explaining: the model that the dictionary is of decodes the feature's vector, patched in place of a word.

Source: Ghandeharioun et al., Patchscopes (2024), section 3, and Chen et al., SelfIE (2024), for the method; Kharlapenko
et al., Self-explaining SAE features (2024), for the question and for why the vector's length must be searched.
LatentQA (Pan et al., 2024) trains a decoder for it, which this does not.

The lengths are candidates like any other's: the choice between them is made on the select split.
"""

from thresher.contracts.ids import canonical_json, sha256_hex
from thresher.contracts.states import State
from thresher.labeling.budget.budget import BudgetExhaustedError
from thresher.labeling.endpoints.requests import ModelRequest, RequestFailedError
from thresher.labeling.exemplars.evidence import Evidence
from thresher.labeling.exemplars.exemplar import Exemplar
from thresher.labeling.explainers.explainer import Candidate, Provenance
from thresher.labeling.explainers.phrase import Phrase, parse_phrase
from thresher.labeling.explainers.spec import SelfExplainingSpec
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.subject.requests import Patch, patch_request
from thresher.labeling.templates import load_template

QUESTION, ANSWER = load_template("explain-self-v1"), load_template("explain-self-answer-v1")


class SelfExplaining:
    """A candidate a length of the patched vector.

    Args:
        exchange: of a LocalSubject.
        dictionary_sha256: of the weights that the vectors are from.
    """

    def __init__(self, spec: SelfExplainingSpec, exchange: Exchange, dictionary_sha256: str) -> None:
        self._spec, self._exchange, self._dictionary_sha256 = spec, exchange, dictionary_sha256

    @property
    def provenance(self) -> Provenance:
        return self._provenance(self._spec.scales[0])

    def shown(self, evidence: Evidence) -> list[Exemplar]:
        return []

    def requests(self, evidence: Evidence) -> list[ModelRequest]:
        return [self._request(evidence.feature, scale) for scale in self._spec.scales]

    async def explain(self, evidence: Evidence) -> list[Candidate]:
        return [await self._candidate(evidence.feature, scale) for scale in self._spec.scales]

    async def _candidate(self, feature: int, scale: float) -> Candidate:
        provenance = self._provenance(scale)
        try:
            answer = await self._exchange.ask(self._request(feature, scale))
        except BudgetExhaustedError:
            return Candidate(Phrase(State.OVER_BUDGET, None), provenance, ())
        except RequestFailedError:
            return Candidate(Phrase(State.API_ERROR, None), provenance, ())
        # The answer begins inside of quotes: it ends where they do.
        phrase = parse_phrase(answer.choice["text"].partition('"')[0])
        return Candidate(phrase, provenance, (), (answer,))

    def _request(self, feature: int, scale: float) -> ModelRequest:
        patch = Patch(self._dictionary_sha256, feature, self._spec.layer, scale)
        prompt = (QUESTION.text, ANSWER.text)
        return patch_request(self._exchange.endpoint, prompt, patch, self._spec.max_tokens)

    def _provenance(self, scale: float) -> Provenance:
        spec, endpoint = self._spec, self._exchange.endpoint
        prompt_sha256 = sha256_hex(canonical_json([QUESTION.sha256, ANSWER.sha256]).encode())
        decoding = canonical_json(
            {"layer": spec.layer, "scale": scale, "max_tokens": spec.max_tokens, "temperature": 0}
        )
        return Provenance(spec.method, endpoint.model, endpoint.revision, prompt_sha256, decoding)
