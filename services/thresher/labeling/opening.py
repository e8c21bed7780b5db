"""What a run needs before any model is asked: what is to be labelled, and who explains and scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import thresher
from thresher.contracts import paths
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import FeaturesManifest
from thresher.contracts.names import parse_reference
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.exchanges import Exchanges
from thresher.labeling.exemplars.book import ExemplarBook
from thresher.labeling.explainers.build import ExplainerTools, build_explainer
from thresher.labeling.explainers.explainer import Explainer
from thresher.labeling.explainers.spec import SelfExplainingSpec, subject_folders
from thresher.labeling.ledger.exchange import Exchange
from thresher.labeling.scorers.build import ScorerTools, build_scorers
from thresher.labeling.scorers.reading import Sampling
from thresher.labeling.scorers.scorer import Scorer
from thresher.labeling.scorers.sequential import SequentialScoring
from thresher.labeling.selection import SelectedFeature
from thresher.labeling.spec import LabelSpec
from thresher.runtime.model_identity import identify_model, tokenizer_sha256
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import read_record


@dataclass(frozen=True)
class Opened:
    """A spec and the features that it names.

    Args:
        run_id: content id of the run.
        artifact: where it lies.
    """

    spec: LabelSpec
    store: ObjectStore
    features: FeaturesManifest
    run_id: str
    artifact: str


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
            "subjects": [identify_model(folder).weights_sha256 for folder in subject_folders(spec.explainer)],
            "code_version": thresher.__version__,
        },
    )
    return Opened(spec, store, features, run_id, paths.label_run(name, version, run_id))


@dataclass(frozen=True)
class Subjects:
    """What was read for some features."""

    tokenizer: PromptTokenizer
    selected: Sequence[SelectedFeature]
    book: ExemplarBook


@dataclass(frozen=True)
class Panel:
    """Who explains and who scores."""

    explainer: Explainer
    scorers: Sequence[Scorer]
    sequential: SequentialScoring


def make_panel(opened: Opened, subjects: Subjects, exchanges: Exchanges) -> Panel:
    """Raises: SpecError: the tokenizer does not serve for simulation."""
    spec = opened.spec
    sequential = SequentialScoring(spec.bootstrap, spec.stopping, spec.seed)
    sampling = Sampling(spec.seed, sequential.num_batches)
    scorers = build_scorers(spec, ScorerTools(subjects.tokenizer, exchanges.of, sampling))
    explainer = build_explainer(spec.explainer, _explainer_tools(opened, subjects, exchanges))
    return Panel(explainer, scorers, sequential)


def _explainer_tools(opened: Opened, subjects: Subjects, exchanges: Exchanges) -> ExplainerTools:
    def subject_of(spec: SelfExplainingSpec) -> Exchange:
        from thresher.labeling.explainers.open_subject import open_subject

        wanted = [item.feature for item in subjects.selected]
        return exchanges.around(open_subject(opened.store, opened.features, spec, wanted))

    return ExplainerTools(
        tokenizer=subjects.tokenizer,
        seed=opened.spec.seed,
        exchange_of=exchanges.of,
        subject_of=subject_of,
        dictionary_sha256=opened.features.dictionary.weights_sha256,
    )
