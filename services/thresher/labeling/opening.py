"""What a run needs before any model is asked: the features, the tokenizer, the evidence, and who explains and scores."""

from collections.abc import Iterator
from dataclasses import dataclass

import thresher
from thresher.contracts import paths
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import FeaturesManifest
from thresher.contracts.names import parse_reference
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.explainers.activations import ActivationsExplainer
from thresher.labeling.explainers.explainer import Explainer
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.detection import DetectionScorer
from thresher.labeling.scorers.simulation import SimulationScorer
from thresher.labeling.scores import Scorer
from thresher.labeling.spec import LabelSpec
from thresher.runtime.model_identity import tokenizer_sha256
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import read_record


@dataclass(frozen=True)
class Opened:
    """A spec with all that it names, checked and read.

    Args:
        run_id: content id of the run.
        artifact: where it lies.
    """

    spec: LabelSpec
    store: ObjectStore
    features: FeaturesManifest
    run_id: str
    artifact: str

    def tokenizer(self) -> PromptTokenizer:
        return PromptTokenizer(self.spec.tokenizer)


def open_spec(spec: LabelSpec) -> Opened:
    """Find the features to label, and which run this is.

    Raises:
        SpecError: a value cannot be used.
        MissingArtifactError: there is no features artifact of this dictionary over this corpus.
    """
    store = open_store(spec.root)
    name, version = parse_reference("dictionary", spec.dictionary)
    key = paths.manifest(paths.features(name, version, spec.corpus))
    features = read_record(store, key, FeaturesManifest)
    run_id = content_id(
        "label_run",
        {
            "spec": spec.identity(),
            "features_id": features.features_id,
            "tokenizer_sha256": tokenizer_sha256("tokenizer", spec.tokenizer),
            "code_version": thresher.__version__,
        },
    )
    return Opened(spec, store, features, run_id, paths.label_run(name, version, run_id))


@dataclass(frozen=True)
class Panel:
    """Who explains and who scores."""

    explainer: Explainer
    scorers: tuple[Scorer, ...]


def make_panel(spec: LabelSpec, tokenizer: PromptTokenizer, scoring: Exchange, explaining: Exchange) -> Panel:
    explainer = ActivationsExplainer(spec.explainer, tokenizer, explaining, spec.seed)
    return Panel(explainer, tuple(_scorers(spec, tokenizer, scoring)))


def _scorers(spec: LabelSpec, tokenizer: PromptTokenizer, exchange: Exchange) -> Iterator[Scorer]:
    if spec.simulation is not None:
        yield SimulationScorer(spec.simulation, tokenizer, exchange, spec.bootstrap, spec.seed)
    if spec.detection is not None:
        yield DetectionScorer(spec.detection, tokenizer, exchange, spec.bootstrap, spec.seed)
