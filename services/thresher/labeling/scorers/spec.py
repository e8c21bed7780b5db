"""How labels are scored, a spec a scorer."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.subject.spec import SubjectSpec

Form = Literal["completion", "chat"]
"""How a question of one word is put to a model."""


class BootstrapSpec(Spec):
    """Confidence intervals, with a standard error from resampled documents."""

    num_resamples: Annotated[int, Field(ge=100)] = 1000
    """Resamples drawn."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Coverage aimed at."""


class SimulatedSpec(Spec):
    """Predict every token's activation from the label, compare with the truth.

    A score pools the tokens of all contexts with equal weight, so the numbers of contexts by kind are the weights of
    the kinds.
    """

    num_top: Annotated[int, Field(ge=0)] = 3
    """Contexts from the strongest exemplars."""
    num_quantile: Annotated[int, Field(ge=0)] = 2
    """Contexts spread over the strata of activation."""
    num_negative: Annotated[int, Field(ge=0)] = 3
    """Contexts in which the feature never fires."""
    tokens_per_context: Annotated[int, Field(ge=2)] = 16
    """Tokens of each context, cut around the peak."""
    num_calibrate: Annotated[int, Field(ge=0)] = 0
    """Contexts of the calibrate split asked about for each feature, to fit one line from predictions to activations
    over all features; calibrated scores then stand beside the others. 0 for none."""

    @model_validator(mode="after")
    def _fires_somewhere(self) -> Self:
        if self.num_top + self.num_quantile == 0:
            raise SpecError("num_top", 0, mend="Give it contexts in which the feature fires.")
        return self


class SimulationSpec(SimulatedSpec):
    """Simulation, all tokens at once: needs an endpoint that returns prompt log-probabilities, as vLLM does."""

    contexts_per_prompt: Annotated[int, Field(ge=1)] = 1
    """Contexts predicted by one request. More share the cost of the examples, but the longer the run of unknowns, the
    less probability a small model leaves for digits."""
    num_logprobs: Annotated[int, Field(ge=1)] = 20
    """Most likely tokens read at each position; digits beyond them are unseen. vLLM allows 20 unless told otherwise."""


class TokenSimulationSpec(SimulatedSpec):
    """Simulation, one request a token: needs log-probabilities of the first token of a completion."""

    num_logprobs: Annotated[int, Field(ge=1)] = 5
    """Most likely tokens read; hosted services allow 5."""


class ChatSimulationSpec(SimulatedSpec):
    """Simulation through a chat, without log-probabilities: a list of whole numbers."""


class AskedSpec(Spec):
    """A question that is answered by one word, read from log-probabilities."""

    form: Form = "chat"
    """How it is put: as a turn of a chat, or as the end of a plain text with examples, for models without a chat
    template. The endpoint gives log-probabilities over /v1/chat/completions or /v1/completions."""
    num_logprobs: Annotated[int, Field(ge=2)] = 20
    """Most likely first tokens that are searched for the answer. Many services allow 20, some 5."""


class DetectionSpec(AskedSpec):
    """Detection scoring: does the label apply to this text, yes or no."""

    num_active: Annotated[int, Field(ge=1)] = 5
    """Contexts in which the feature fires."""
    num_inactive: Annotated[int, Field(ge=1)] = 5
    """Contexts in which it never does."""
    num_hard: Annotated[int, Field(ge=0)] = 5
    """Contexts in which it does not fire though one would expect it, where the features artifact has such: a score of
    its own, detection_hard."""
    tokens_per_context: Annotated[int, Field(ge=2)] = 20
    """Tokens of each context, cut around the peak."""
    contexts_per_prompt: Annotated[int, Field(ge=1)] = 1
    """Contexts asked about by one request. More take fewer calls and tokens, but need a model that keeps them apart:
    qualify it. As a plain text they need an endpoint that returns prompt log-probabilities, as vLLM does."""


class FuzzingSpec(AskedSpec):
    """Fuzzing: are the marked words of a text what the label describes."""

    num_right: Annotated[int, Field(ge=1)] = 5
    """Contexts whose marked words are those on which the feature fires."""
    num_wrong: Annotated[int, Field(ge=1)] = 5
    """Contexts in which other words are marked, as many as it fires on."""
    tokens_per_context: Annotated[int, Field(ge=2)] = 20
    """Tokens of each context, cut around the peak."""


class IntruderSpec(AskedSpec):
    """Which of five texts does not belong."""

    num_trials: Annotated[int, Field(ge=2)] = 5
    """Questions asked, each about four texts in which the feature fires and one in which it does not."""
    hard: bool = False
    """Take intruders in which one would expect it to fire, where the features artifact has such."""
    tokens_per_context: Annotated[int, Field(ge=2)] = 20
    """Tokens of each context, cut around the peak."""


class EmbeddingSpec(Spec):
    """Similarity of embeddings, of the label to texts."""

    endpoint: EndpointSpec
    """Who embeds: an endpoint with /v1/embeddings."""
    query_prefix: str = ""
    """What stands before the label, where the embedder was trained with such a prefix."""
    document_prefix: str = ""
    """What stands before a text, likewise."""
    num_active: Annotated[int, Field(ge=1)] = 8
    """Contexts in which the feature fires."""
    num_inactive: Annotated[int, Field(ge=1)] = 8
    """Contexts in which it never does."""
    num_hard: Annotated[int, Field(ge=0)] = 8
    """Contexts in which it does not fire though their text is near to firing ones, where the features artifact has
    such: a score of its own, embedding_hard."""
    tokens_per_context: Annotated[int, Field(ge=2)] = 32
    """Tokens of each context, cut around the peak."""


class GenerationSpec(SubjectSpec):
    """Generation: does the feature fire on texts that are written from its label, and on no others.

    The run's endpoint writes the texts; the feature fires or not on the rows of the model that the dictionary is of.
    """

    num_requests: Annotated[int, Field(ge=2)] = 4
    """Times that texts are asked for, of each kind. They are what is resampled for the interval."""
    texts_per_request: Annotated[int, Field(ge=1)] = 5
    """Texts of a request: so many on which the feature should fire, and in another request as many on which not."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Sampling temperature of the writer: at 0 every request would have the same texts, which count once."""
    tokens_per_text: Annotated[int, Field(ge=1)] = 40
    """What a text may take of the longest answer, in tokens."""
    max_repairs: Annotated[int, Field(ge=0)] = 1
    """Further requests where an answer has too few usable texts, each of which says so. Texts that are missing then
    count as unparsed."""
    min_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The feature fires on a text if its largest activation there is above this share of the largest one known, that of
    its exemplars; at 0, if it is active at all."""


NEUTRAL_PROMPTS = (
    "I think that",
    "The first thing they",
    "It was clear that",
    "When we arrived,",
    "He said that the",
    "This is a story about",
    "In the end, she",
    "One of the main",
    "We would like to",
    "There is a",
    "My friend told me",
    "You can see that",
    "The next day,",
    "Some people say that",
    "It seems to be",
    "What I remember is",
)


class SteeringSpec(AskedSpec, SubjectSpec):
    """Steering: do texts show what the label says once the feature is added to the model's stream."""

    prompts: Annotated[tuple[str, ...], Field(min_length=2)] = NEUTRAL_PROMPTS
    """Beginnings of texts, which say nothing of any feature; each is what is resampled for the interval."""
    num_prompts: Annotated[int, Field(ge=2)] = 8
    """Prompts of a batch: each is continued with the feature added, and with another one in its place."""
    strength: Annotated[float, Field(gt=0)] = 0.6
    """Length of what is added at every position but the first, in mean lengths of the prompt's rows at the site. Too
    little says nothing, too much makes the model stammer: look at a few answers in `responses`."""
    max_tokens: Annotated[int, Field(ge=1)] = 20
    """Tokens that follow a prompt."""
    num_controls: Annotated[int, Field(ge=1)] = 16
    """Other features that are drawn once for a run; each prompt of a feature is continued with one of them too."""

    @model_validator(mode="after")
    def _prompts_suffice(self) -> Self:
        if len(set(self.prompts)) < max(self.num_prompts, len(self.prompts)):
            raise SpecError(
                "steering.prompts",
                len(set(self.prompts)),
                allowed=f"{self.num_prompts} or more, all different",
                mend="Give more, or lower steering.num_prompts.",
            )
        short = [prompt for prompt in self.prompts if len(prompt.split()) < 2]
        if short:
            raise SpecError(
                "steering.prompts",
                short[0],
                allowed="two words or more",
                mend="The first token is never steered: lengthen it.",
            )
        return self


class StoppingSpec(Spec):
    """Score until the interval is narrow enough: a label and the shuffled ones on its contexts, in step."""

    target_width: Annotated[float, Field(gt=0)] = 0.3
    """Width of the interval of the lift, or of the score where it has no lift, at which it is enough."""
    looks: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 2, 4)
    """Batches scored by each look at the interval, ascending; a batch has the numbers of contexts that the scorer's
    section says. The intervals of all looks cover together, so that more looks make each of them wider."""

    @field_validator("looks")
    @classmethod
    def _ascending(cls, looks: tuple[int, ...]) -> tuple[int, ...]:
        if sorted(set(looks)) != list(looks):
            raise SpecError("looks", looks, mend="List them in ascending order, each once.")
        return looks


class CascadeSpec(Spec):
    """Cheap scorers first, the others for features whose labels pass them."""

    first: Annotated[tuple[str, ...], Field(min_length=1)] = ("detection",)
    """Scorers that every label is tried by."""
    min_lift: float = 0.0
    """A feature goes on if the lift of each of these exceeds it, by `decide`; a score that is undefined does not."""
    decide: Literal["value", "low"] = "value"
    """Whether the lift itself counts, or the lower end of its interval."""
