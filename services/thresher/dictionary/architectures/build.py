"""The objective of a spec."""

from thresher.dictionary.architectures.batch_topk import BatchTopKObjective
from thresher.dictionary.architectures.gated import GatedObjective
from thresher.dictionary.architectures.jumprelu import JumpReluObjective
from thresher.dictionary.architectures.matryoshka import MatryoshkaObjective
from thresher.dictionary.architectures.objective import Objective, Problem
from thresher.dictionary.architectures.relu import ReluObjective
from thresher.dictionary.architectures.spec import (
    BatchTopKSpec,
    GatedSpec,
    JumpReluSpec,
    MatryoshkaSpec,
    ReluSpec,
    TopKSpec,
    TrainedSpec,
)
from thresher.dictionary.architectures.topk import TopKObjective


def build_objective(spec: TrainedSpec, problem: Problem) -> Objective:
    """The objective that the spec's kind names."""
    match spec:
        case TopKSpec():
            return TopKObjective(spec, problem)
        case BatchTopKSpec():
            return BatchTopKObjective(spec, problem)
        case MatryoshkaSpec():
            return MatryoshkaObjective(spec, problem)
        case JumpReluSpec():
            return JumpReluObjective(spec, problem)
        case ReluSpec():
            return ReluObjective(spec, problem)
        case GatedSpec():
            return GatedObjective(spec, problem)
