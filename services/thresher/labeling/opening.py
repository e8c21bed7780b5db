"""What a run needs before a model is asked: found, checked and read."""

from collections.abc import Sequence
from dataclasses import dataclass

import thresher
from thresher.contracts import paths
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import FeaturesManifest
from thresher.contracts.names import parse_reference
from thresher.labeling.endpoints.prompt_tokens import PromptTokenizer
from thresher.labeling.exemplars.book import ExemplarBook
from thresher.labeling.explainers.build import check_evidence
from thresher.labeling.qualification.records import Qualified, find_qualifications
from thresher.labeling.selection import SelectedFeature, select_features
from thresher.labeling.spec import LabelSpec
from thresher.runtime.model_identity import identify_model, model_folder, tokenizer_sha256
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import read_record


@dataclass(frozen=True)
class OpenRun:
    """A run whose spec fits its features; nothing is asked yet."""

    store: ObjectStore
    spec: LabelSpec
    features: FeaturesManifest
    run_id: str
    tokenizer: PromptTokenizer
    selected: list[SelectedFeature]
    qualified: Qualified

    @property
    def artifact(self) -> str:
        ref = self.features.dictionary
        return paths.label_run(ref.name, ref.version, self.run_id)

    def book(self, features: Sequence[int]) -> ExemplarBook:
        """The exemplars of some features.

        Raises:
            SpecError: they lack what the explainer shows.
        """
        book = ExemplarBook(self.store, self.features, features)
        check_evidence(self.spec.explainer, book)
        return book


def open_run(spec: LabelSpec) -> OpenRun:
    """Find the features of a run, check the spec against them, give it its id.

    Raises:
        SpecError, MissingArtifactError, IntegrityError: as label.
    """
    store = open_store(spec.root)
    features = read_features(store, spec)
    qualified = find_qualifications(store, spec)
    tokenizer = PromptTokenizer(spec.tokenizer)
    selected = select_features(store, features, spec.features)
    return OpenRun(store, spec, features, run_id_of(store, spec, features), tokenizer, selected, qualified)


def read_features(store: ObjectStore, spec: LabelSpec) -> FeaturesManifest:
    """The features artifact that a spec is about."""
    name, version = parse_reference("dictionary", spec.dictionary)
    return read_record(store, paths.manifest(paths.features(name, version, spec.corpus)), FeaturesManifest)


def run_id_of(store: ObjectStore, spec: LabelSpec, features: FeaturesManifest) -> str:
    """Over everything that determines what the run makes.

    A run whose scorers have been qualified since is another one: it finds all answers stored, and marks its scores.
    """
    return content_id(
        "label_run",
        {
            "spec": spec.identity(),
            "features_id": features.features_id,
            "tokenizer_sha256": tokenizer_sha256("tokenizer", spec.tokenizer),
            "qualified": find_qualifications(store, spec),
            "subjects": [_weights_sha256(*subject) for subject in spec.subjects],
            "code_version": thresher.__version__,
        },
    )


def _weights_sha256(section: str, folder: str) -> str:
    return identify_model(str(model_folder(f"{section}.model", folder))).weights_sha256
