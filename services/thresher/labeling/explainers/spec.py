"""How labels are written, a spec an explainer; `method` says which."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.subject.spec import SubjectSpec

DEFAULT_METHOD = "activations"
Structure = Literal["off", "json_schema", "json_object"]


class PromptedSpec(Spec):
    """What explainers that ask a chat model for a phrase have in common."""

    endpoint: EndpointSpec | None = None
    """Who writes the labels, if not the endpoint that scores them."""
    num_candidates: Annotated[int, Field(ge=1)] = 1
    """Answers drawn, each with a seed of its own; the best on the select split becomes the label."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """Sampling temperature; must be above 0 to draw several candidates."""
    max_tokens: Annotated[int, Field(ge=1)] = 24
    """Longest phrase, in tokens; what JSON adds to it comes on top."""
    structured: Structure = "off"
    """Have the endpoint keep the answer to a JSON schema, or to JSON at least. off asks for a plain phrase: any
    endpoint gives one, and small models lose labels to JSON."""
    max_repairs: Annotated[int, Field(ge=0)] = 1
    """Further requests, each of which shows the model what was wrong with its answer. Then it is unparsable."""
    reasoning: bool = False
    """Let the model think before it answers. What it thought stays in the stored response, and nowhere else."""
    reasoning_tokens: Annotated[int, Field(ge=1)] = 256
    """Tokens it may think for."""

    @model_validator(mode="after")
    def _draws_differ(self) -> Self:
        if self.num_candidates > 1 and self.temperature == 0:
            raise SpecError(
                "explainer.temperature",
                self.temperature,
                allowed="above 0",
                mend="At 0 all candidates are the same: raise it, or set num_candidates to 1.",
            )
        return self


class ActivationsSpec(PromptedSpec):
    """Shows the explain split's strongest exemplars with their activations."""

    method: Literal["activations"] = "activations"
    """Input-centric: texts with the firing tokens marked."""
    num_exemplars: Annotated[int, Field(ge=1)] = 10
    """Strongest exemplars shown."""
    num_quantile: Annotated[int, Field(ge=0)] = 10
    """Exemplars shown beside these, spread over the strata of activation: a label of the strongest alone misses what
    the feature fires on less strongly."""
    tokens_per_exemplar: Annotated[int, Field(ge=1)] = 16
    """Tokens shown of each."""


class ContrastiveSpec(PromptedSpec):
    """Shows texts in which the feature fires beside texts in which it does not, though one would expect it."""

    method: Literal["contrastive"] = "contrastive"
    """Input-centric: what have the first that the second lack."""
    num_firing: Annotated[int, Field(ge=1)] = 5
    """Firing exemplars shown: the strongest."""
    num_silent: Annotated[int, Field(ge=1)] = 5
    """Silent exemplars shown: hard negatives in turn of their kinds, then plain ones where they do not suffice."""
    tokens_per_exemplar: Annotated[int, Field(ge=1)] = 16
    """Tokens shown of each."""


class OutputTokensSpec(PromptedSpec):
    """Shows what the feature does to the model's output."""

    method: Literal["vocab_proj", "token_change"] = "vocab_proj"
    """Output-centric: tokens that the feature's vector promotes and suppresses through the unembedding, or those whose
    probability changes most when it is added to the residual stream."""
    num_tokens: Annotated[int, Field(ge=1)] = 15
    """Tokens shown of each kind."""


class SelfExplainingSpec(SubjectSpec):
    """The model that the dictionary is of says what the feature's vector means, patched in place of a word."""

    method: Literal["self_explaining"] = "self_explaining"
    """Decodes the vector itself; no exemplar is shown."""
    layer: Annotated[int, Field(ge=0)] = 2
    """Layer whose input is patched: an early one, so that the layers after it can read the vector."""
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (0.5, 1.0, 2.0, 4.0)
    """Lengths of the patched vector, in mean lengths of the rows around it. Each gives a candidate."""
    max_tokens: Annotated[int, Field(ge=1)] = 16
    """Longest answer, in tokens."""


def method_of(given: Any) -> str | None:
    """The method that plain data or a spec names; the default where plain data names none."""
    if isinstance(given, dict):
        return str(given.get("method", DEFAULT_METHOD))
    return getattr(given, "method", None)


MemberSpec = Annotated[
    Annotated[ActivationsSpec, Tag("activations")]
    | Annotated[ContrastiveSpec, Tag("contrastive")]
    | Annotated[OutputTokensSpec, Tag("vocab_proj")]
    | Annotated[OutputTokensSpec, Tag("token_change")]
    | Annotated[SelfExplainingSpec, Tag("self_explaining")],
    Discriminator(method_of),
]


class EnsembleSpec(PromptedSpec):
    """Asks several explainers."""

    method: Literal["ensemble"] = "ensemble"
    """Input-centric and output-centric evidence see different sides of a feature."""
    mode: Literal["keep", "merge"] = "keep"
    """Keep every member's candidates and choose the best on the select split, or merge their phrases into one by a
    further request, which the other fields of this section are about."""
    members: Annotated[tuple[MemberSpec, ...], Field(min_length=2)] = (
        ActivationsSpec(),
        OutputTokensSpec(method="vocab_proj"),
        OutputTokensSpec(method="token_change"),
    )
    """Who is asked, each with an endpoint of its own where it has one."""


ExplainerSpec = Annotated[
    Annotated[ActivationsSpec, Tag("activations")]
    | Annotated[ContrastiveSpec, Tag("contrastive")]
    | Annotated[OutputTokensSpec, Tag("vocab_proj")]
    | Annotated[OutputTokensSpec, Tag("token_change")]
    | Annotated[SelfExplainingSpec, Tag("self_explaining")]
    | Annotated[EnsembleSpec, Tag("ensemble")],
    Discriminator(method_of),
]


class SingleTokenSpec(Spec):
    """A feature that fires on one token, and whenever it is there, is labelled with that token; no model is asked."""

    min_share: Annotated[float, Field(gt=0.5, le=1)] = 0.95
    """Least share of the positions on which the feature fires that hold the token, in any case and spacing."""
    min_recall: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Least share of the token's occurrences on which the feature fires, over all explain exemplars."""
    min_positions: Annotated[int, Field(ge=1)] = 10
    """Fewer positions on which the feature fires than this decide nothing."""


class ChoiceSpec(Spec):
    """Which of several candidates becomes the label: the one with the best score on the select split."""

    by: str = "detection"
    """A scorer of this run, by its section. Report is never looked at: its scores stay free of the winner's curse."""


def parts_of(spec: ExplainerSpec) -> tuple[ExplainerSpec, ...]:
    """A spec and, if it is an ensemble, its members."""
    return (spec, *spec.members) if isinstance(spec, EnsembleSpec) else (spec,)


def gives_several(spec: ExplainerSpec) -> bool:
    """Whether it may give more than one candidate, so that a choice is due."""
    if isinstance(spec, SelfExplainingSpec):
        return len(spec.scales) > 1
    return spec.num_candidates > 1 or (isinstance(spec, EnsembleSpec) and spec.mode == "keep")
