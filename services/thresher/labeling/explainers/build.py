"""From a spec to an explainer, and what must be there before it can ask anything."""

from collections.abc import Callable
from dataclasses import dataclass

from thresher.contracts.errors import SpecError
from thresher.labeling.endpoints.needs import Need
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.exemplars.book import ExemplarBook
from thresher.labeling.explainers.activations import ActivationsWriter
from thresher.labeling.explainers.answer_form import AnswerForm
from thresher.labeling.explainers.asking import PhraseAsker
from thresher.labeling.explainers.contrastive import ContrastiveWriter
from thresher.labeling.explainers.ensemble import KeepingEnsemble, MergingEnsemble
from thresher.labeling.explainers.explainer import Explainer
from thresher.labeling.explainers.output_tokens import KINDS, OutputTokensWriter
from thresher.labeling.explainers.prompted import PromptedExplainer, QuestionWriter
from thresher.labeling.explainers.self_explaining import SelfExplaining
from thresher.labeling.explainers.spec import (
    ActivationsSpec,
    ContrastiveSpec,
    EnsembleSpec,
    ExplainerSpec,
    OutputTokensSpec,
    SelfExplainingSpec,
    gives_several,
    parts_of,
)
from thresher.labeling.ledger.exchange import Exchange


@dataclass(frozen=True)
class ExplainerTools:
    """What explainers are built with.

    Args:
        exchange_of: where to ask an endpoint; None stands for the one that scores.
        subject_of: where to ask the model that the dictionary is of.
        dictionary_sha256: of the dictionary's weights.
    """

    tokenizer: PromptTokenizer
    seed: int
    exchange_of: Callable[[EndpointSpec | None], Exchange]
    subject_of: Callable[[SelfExplainingSpec], Exchange]
    dictionary_sha256: str


def build_explainer(spec: ExplainerSpec, tools: ExplainerTools) -> Explainer:
    if isinstance(spec, SelfExplainingSpec):
        return SelfExplaining(spec, tools.subject_of(spec), tools.dictionary_sha256)
    exchange = tools.exchange_of(spec.endpoint)
    form = AnswerForm(spec.structured, spec.reasoning)
    asker = PhraseAsker(spec, form, tools.tokenizer, exchange, tools.seed)
    if isinstance(spec, EnsembleSpec):
        members = [build_explainer(member, tools) for member in spec.members]
        return (
            KeepingEnsemble(members)
            if spec.mode == "keep"
            else MergingEnsemble(members, asker, spec.num_candidates)
        )
    return PromptedExplainer(_writer(spec, tools.seed), asker, spec.num_candidates)


def _writer(spec: ActivationsSpec | ContrastiveSpec | OutputTokensSpec, seed: int) -> QuestionWriter:
    if isinstance(spec, ActivationsSpec):
        return ActivationsWriter(spec, seed)
    if isinstance(spec, ContrastiveSpec):
        return ContrastiveWriter(spec, seed)
    return OutputTokensWriter(spec)


def check_evidence(spec: ExplainerSpec, book: ExemplarBook) -> None:
    """The features artifact holds what the explainer reads.

    Raises:
        SpecError: it does not, for any feature; says what to mend.
    """
    for part in parts_of(spec):
        if isinstance(part, OutputTokensSpec) and KINDS[part.method][0] not in book.output_token_kinds:
            raise SpecError(
                "explainer.method",
                part.method,
                mend=f"The features artifact has no {KINDS[part.method][0]} tokens: make it with its output side, or "
                "take another method.",
            )
    if gives_several(spec) and "select" not in book.splits:
        raise SpecError(
            "explainer",
            part.method,
            mend="It gives several candidates, and the features artifact has no select split to choose between them "
            "on: make it with one, or ask for one candidate.",
        )


def explainer_needs(spec: ExplainerSpec, asked: EndpointSpec, default: EndpointSpec) -> list[Need]:
    """What the parts of an explainer that ask an endpoint need of it; `default` is whom those without one ask."""
    parts = [part for part in parts_of(spec) if not isinstance(part, SelfExplainingSpec)]
    structures = {part.structured for part in parts if (part.endpoint or default) == asked}
    return [
        Need(structure, "explainer.structured", 1, "set explainer.structured to off")
        for structure in sorted(structures)
        if structure != "off"
    ]
