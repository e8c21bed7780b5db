"""What to label, with which model, and how to score it."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from thresher.config import Spec
from thresher.contracts.errors import SpecError
from thresher.labeling.budget.prices import PriceTable
from thresher.labeling.budget.spec import BudgetSpec, PriceSpec
from thresher.labeling.endpoints.spec import EndpointSpec
from thresher.labeling.explainers.spec import (
    ActivationsSpec,
    ChoiceSpec,
    ExplainerSpec,
    PromptedSpec,
    SingleTokenSpec,
    gives_several,
    parts_of,
)
from thresher.labeling.qualification.spec import QualificationSpec
from thresher.labeling.scorers.spec import (
    BootstrapSpec,
    CascadeSpec,
    ChatSimulationSpec,
    DetectionSpec,
    EmbeddingSpec,
    FuzzingSpec,
    GenerationSpec,
    IntruderSpec,
    SimulationSpec,
    SteeringSpec,
    StoppingSpec,
    TokenSimulationSpec,
)
from thresher.labeling.subject.spec import SubjectSpec

Operational = {"operational": True}
SCORERS = (
    "embedding",
    "detection",
    "fuzzing",
    "intruder",
    "intruder_blind",
    "simulation",
    "simulation_tokens",
    "simulation_chat",
    "steering",
    "generation",
)
"""Sections that are scorers, the cheap ones first."""
OF_NO_SPLIT = ("steering", "generation")
"""Scorers whose texts are made for them: what they chose between, they would report on."""


class SelectionSpec(Spec):
    """Which features to label."""

    count: Annotated[int, Field(ge=1)] | None = None
    """How many, or null for every feature, dead ones included. Of no effect beside a list of features."""
    selection: Literal["density_spread", "top_density"] | list[Annotated[int, Field(ge=0)]] = "density_spread"
    """Evenly over the ranks of density, the densest, or the features listed."""
    min_exemplars: Annotated[int, Field(ge=1)] = 4
    """A feature with fewer firing exemplars than this, in either split, is in state too_rare."""


class BaselineSpec(Spec):
    """The same scores with labels of other features: what a label must beat."""

    num_shuffles: Annotated[int, Field(ge=0)] = 1
    """Other labels tried on each feature's contexts, drawn from features of similar density."""


class LabelSpec(Spec):
    """One run of labelling: features, explainer, scorers, baseline."""

    root: Annotated[str, Field(json_schema_extra=Operational)]
    """Root of the object store: file:///folder or s3://bucket/prefix."""
    dictionary: str
    """The dictionary, name@version."""
    corpus: str
    """Id of the corpus that the features artifact was made over."""
    tokenizer: Annotated[str, Field(json_schema_extra=Operational)]
    """Folder with the tokenizer.json of the endpoint's model: simulation must place tokens exactly."""
    endpoint: EndpointSpec
    """Who scores and, unless the explainer has its own, who writes the labels."""
    features: SelectionSpec = SelectionSpec()
    """Which features to label."""
    explainer: ExplainerSpec = ActivationsSpec()
    """How labels are written; `method` says which explainer it is."""
    single_token: SingleTokenSpec | None = SingleTokenSpec()
    """Label features of a single token by rule, before any model is asked; null to ask about them too."""
    choice: ChoiceSpec = ChoiceSpec()
    """How one of several candidates is chosen, where the explainer gives several."""
    simulation: SimulationSpec | None = SimulationSpec()
    """Simulation scoring, or null to leave it out: it needs an endpoint that returns prompt log-probabilities."""
    detection: DetectionSpec | None = DetectionSpec()
    """Detection scoring, or null to leave it out."""
    embedding: EmbeddingSpec | None = None
    """Similarity of embeddings, or null to leave it out."""
    fuzzing: FuzzingSpec | None = None
    """Fuzzing, or null to leave it out."""
    intruder: IntruderSpec | None = None
    """Intruder scoring with the label shown, or null to leave it out."""
    intruder_blind: IntruderSpec | None = None
    """Intruder scoring of the feature alone, no label shown, or null to leave it out."""
    simulation_tokens: TokenSimulationSpec | None = None
    """Simulation with a request a token, or null to leave it out."""
    simulation_chat: ChatSimulationSpec | None = None
    """Simulation through a chat without log-probabilities, or null to leave it out."""
    steering: SteeringSpec | None = None
    """Steering, or null to leave it out: it runs the model that the dictionary is of."""
    generation: GenerationSpec | None = None
    """Texts written from the label, or null to leave them out: likewise."""
    stopping: StoppingSpec | None = None
    """Stop scoring a label once its interval is narrow enough; null scores one batch of contexts."""
    cascade: CascadeSpec | None = None
    """Cheap scorers first, the others for labels that pass; null runs all on all."""
    baseline: BaselineSpec = BaselineSpec()
    """Shuffled labels."""
    qualification: Annotated[QualificationSpec, Field(json_schema_extra=Operational)] = QualificationSpec()
    """How `--qualify` tries the scorers; of no effect on labels."""
    bootstrap: BootstrapSpec = BootstrapSpec()
    """Confidence intervals."""
    budget: BudgetSpec = BudgetSpec()
    """Hard stops on tokens and cost, and the prices."""
    workers: Annotated[int, Field(ge=0, json_schema_extra=Operational)] = 0
    """Ray actors among which features are dealt; with 0 or 1 this process does it all. Each has the endpoint's
    concurrency for itself."""
    attempt: Annotated[int, Field(ge=0)] = 0
    """Tells runs apart that are otherwise the same. Raise it to ask again for what failed: stored answers are found."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of every sample, of the baseline and of the explainer's decoding."""

    @model_validator(mode="after")
    def _choice_has_a_scorer(self) -> Self:
        scorers = [name for name in SCORERS if name not in OF_NO_SPLIT and getattr(self, name) is not None]
        if gives_several(self.explainer) and self.choice.by not in scorers:
            raise SpecError(
                "choice.by",
                self.choice.by,
                allowed=scorers,
                mend="Name a scorer that this run has, or add it. Texts of steering and generation are of no split.",
            )
        return self

    @model_validator(mode="after")
    def _cascade_names_scorers(self) -> Self:
        for name in self.cascade.first if self.cascade is not None else ():
            if getattr(self, name, None) is None or name not in SCORERS:
                raise SpecError(
                    "cascade.first", name, allowed=SCORERS, mend="Name scorers that are not null."
                )
        return self

    @model_validator(mode="after")
    def _cost_has_prices(self) -> Self:
        unpriced = sorted(self._models_at_endpoints - self.budget.prices.keys())
        if self.budget.max_cost is not None and unpriced:
            raise SpecError(
                "budget.prices",
                sorted(self.budget.prices),
                mend=f"budget.max_cost needs the price of {unpriced[0]}: "
                f"budget.prices: {{{unpriced[0]}: {{prompt: …, completion: …}}}}, per million tokens.",
            )
        return self

    @property
    def subjects(self) -> list[tuple[str, str]]:
        """Section and folder of each model that explains itself, is steered, or reads texts."""
        parts = [*(("explainer", part) for part in parts_of(self.explainer))]
        own = [("steering", self.steering), ("generation", self.generation)]
        return [(section, part.model) for section, part in [*parts, *own] if isinstance(part, SubjectSpec)]

    @property
    def prices(self) -> PriceTable:
        """Of all models that are asked. One in this process costs nothing, unless it is called as a priced one is."""
        in_process = {Path(folder).name for _, folder in self.subjects} - self._models_at_endpoints
        free = PriceSpec(prompt=0, completion=0)
        return PriceTable(dict.fromkeys(in_process, free) | self.budget.prices)

    @property
    def _models_at_endpoints(self) -> set[str]:
        own = [part.endpoint for part in parts_of(self.explainer) if isinstance(part, PromptedSpec)]
        if self.embedding is not None:
            own.append(self.embedding.endpoint)
        return {self.endpoint.model, *(endpoint.model for endpoint in own if endpoint is not None)}

    @property
    def explainer_endpoint(self) -> EndpointSpec:
        """Who writes the labels; for several explainers without endpoints of their own, whoever scores."""
        own = self.explainer.endpoint if isinstance(self.explainer, PromptedSpec) else None
        return own or self.endpoint
