"""The scorers that a run asks for, cheap ones first, and what they need of its endpoint."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from thresher.labeling.endpoints.needs import Need
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers import (
    detection,
    fuzzing,
    generation,
    intruder,
    simulation_chat,
    simulation_lines,
    steering,
)
from thresher.labeling.scorers.detection import DetectionScorer
from thresher.labeling.scorers.embedding import EmbeddingScorer, prefixes_sha256
from thresher.labeling.scorers.first_token import ABILITIES, Wording
from thresher.labeling.scorers.fuzzing import FuzzingScorer
from thresher.labeling.scorers.generation import GenerationScorer
from thresher.labeling.scorers.intruder import IntruderScorer
from thresher.labeling.scorers.joint_question import JOINT_ABILITIES
from thresher.labeling.scorers.reading import Sampling
from thresher.labeling.scorers.scorer import Scorer, ScorerIdentity
from thresher.labeling.scorers.simulation import SimulationScorer
from thresher.labeling.scorers.simulation_chat import ChatSimulationScorer
from thresher.labeling.scorers.simulation_tokens import TokenSimulationScorer
from thresher.labeling.scorers.spec import AskedSpec, GenerationSpec, SteeringSpec
from thresher.labeling.scorers.steering import SteeringScorer
from thresher.labeling.spec import LabelSpec
from thresher.labeling.subject.continuing import Continuing
from thresher.labeling.subject.firing import Firing


class Subjects(Protocol):
    """Where the features are that scorers make fire, or steer with."""

    def firing(self, spec: GenerationSpec) -> Firing:
        """Raises: SpecError: the model is another, or has not the dictionary's site."""

    def continuing(self, spec: SteeringSpec) -> Continuing:
        """Raises: SpecError: likewise, or the dictionary's vectors are in no residual stream."""


@dataclass(frozen=True)
class ScorerTools:
    """What scorers are made with.

    Args:
        exchange_of: where an endpoint is asked; of None, the run's own.
        subjects: where features fire and are steered with.
    """

    tokenizer: PromptTokenizer
    exchange_of: Callable[[EndpointSpec | None], Exchange]
    sampling: Sampling
    subjects: Subjects


def build_scorers(spec: LabelSpec, given: ScorerTools) -> list[Scorer]:
    """Raises: SpecError: the tokenizer does not serve for simulation, or as Subjects."""
    tools = (given.tokenizer, given.exchange_of(None), given.sampling)
    scorers = list[Scorer]()
    if spec.embedding is not None:
        exchange = given.exchange_of(spec.embedding.endpoint)
        scorers.append(EmbeddingScorer(spec.embedding, given.tokenizer, exchange, given.sampling))
    if spec.detection is not None:
        scorers.append(DetectionScorer(spec.detection, *tools))
    if spec.fuzzing is not None:
        scorers.append(FuzzingScorer(spec.fuzzing, *tools))
    if spec.intruder is not None:
        scorers.append(IntruderScorer(spec.intruder, *tools))
    if spec.intruder_blind is not None:
        scorers.append(IntruderScorer(spec.intruder_blind, *tools, blind=True))
    if spec.simulation is not None:
        scorers.append(SimulationScorer(spec.simulation, *tools))
    if spec.simulation_tokens is not None:
        scorers.append(TokenSimulationScorer(spec.simulation_tokens, *tools))
    if spec.simulation_chat is not None:
        scorers.append(ChatSimulationScorer(spec.simulation_chat, *tools))
    if spec.steering is not None:
        scorers.append(SteeringScorer(spec.steering, *tools, given.subjects.continuing(spec.steering)))
    if spec.generation is not None:
        scorers.append(GenerationScorer(spec.generation, *tools, given.subjects.firing(spec.generation)))
    return scorers


WORDINGS: Mapping[str, Wording] = {
    "fuzzing": fuzzing.WORDING,
    "intruder": intruder.LABELLED,
    "steering": steering.WORDING,
}
PROMPTS: Mapping[str, str] = {
    "simulation": simulation_lines.TEMPLATE.sha256,
    "simulation_tokens": simulation_lines.TEMPLATE.sha256,
    "simulation_chat": simulation_chat.TEMPLATE.sha256,
    "generation": generation.PROMPT_SHA256,
}
"""Of the scorers that judge labels, the hash of the words they ask in."""


QUALIFIED_APART: Mapping[str, tuple[str, ...]] = {
    "detection": ("detection_auroc",),
    "fuzzing": ("fuzzing_auroc",),
    "steering": ("steering_auroc",),
}
"""Score types of a scorer that are qualified for themselves; others go by the scorer's first."""


def score_types_of(name: str) -> tuple[str, ...]:
    """Of a scorer, those that are qualified, the first that of its own name."""
    return (name, *QUALIFIED_APART.get(name, ()))


def judges(spec: LabelSpec) -> dict[str, ScorerIdentity]:
    """Who judges labels in a run, before anything is opened: by score type that is qualified."""
    return {
        score_type: replace(identity, name=score_type)
        for name, identity in _scorers_that_judge(spec).items()
        for score_type in score_types_of(name)
    }


def _scorers_that_judge(spec: LabelSpec) -> dict[str, ScorerIdentity]:
    found = {
        name: ScorerIdentity(name, spec.endpoint.model, spec.endpoint.revision, prompt_sha256)
        for name, prompt_sha256 in PROMPTS.items()
        if getattr(spec, name) is not None
    }
    for name, wording in WORDINGS.items():
        if (section := getattr(spec, name)) is not None:
            words = wording.of(section.form).sha256
            found[name] = ScorerIdentity(name, spec.endpoint.model, spec.endpoint.revision, words)
    if spec.detection is not None:
        words = detection.prompt_sha256(spec.detection)
        found["detection"] = ScorerIdentity("detection", spec.endpoint.model, spec.endpoint.revision, words)
    if spec.embedding is not None:
        endpoint, words = spec.embedding.endpoint, prefixes_sha256(spec.embedding)
        found["embedding"] = ScorerIdentity("embedding", endpoint.model, endpoint.revision, words)
    return found


def scorer_needs(spec: LabelSpec, asked: EndpointSpec) -> list[Need]:
    """What the scorers that ask an endpoint need of it."""
    needs = _judge_needs(spec) if asked == spec.endpoint else []
    if spec.embedding is not None and asked == spec.embedding.endpoint:
        needs.append(Need("embeddings", "embedding", 1, "set embedding to null"))
    return needs


def _judge_needs(spec: LabelSpec) -> list[Need]:
    """The log-probabilities that judges are read by."""
    is_joint = spec.detection is not None and spec.detection.contexts_per_prompt > 1
    asked: dict[str, AskedSpec | None] = {
        "detection": spec.detection,
        "fuzzing": spec.fuzzing,
        "intruder": spec.intruder,
        "intruder_blind": spec.intruder_blind,
        "steering": spec.steering,
    }
    needs = [
        Need(
            (JOINT_ABILITIES if section == "detection" and is_joint else ABILITIES)[found.form],
            f"{section}.num_logprobs",
            found.num_logprobs,
            f"try another {section}.form, or set {section} to null",
        )
        for section, found in asked.items()
        if found is not None
    ]
    if spec.simulation_tokens is not None:
        amount = spec.simulation_tokens.num_logprobs
        needs.append(
            Need("logprobs", "simulation_tokens.num_logprobs", amount, "set simulation_tokens to null")
        )
    if spec.simulation is not None:
        amount = spec.simulation.num_logprobs
        needs.append(Need("prompt_logprobs", "simulation.num_logprobs", amount, "set simulation to null"))
    return needs
