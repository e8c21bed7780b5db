"""The artifacts that a release is made of, and whether they belong together."""

import json
from dataclasses import dataclass
from typing import Any

from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import DictionaryManifest, FeaturesManifest, FileEntry, LabelManifest
from thresher.contracts.names import parse_reference
from thresher.release.spec import PublishSpec
from thresher.storage import ObjectStore
from thresher.storage.artifacts import read_record


@dataclass(frozen=True)
class Sources:
    dictionary: DictionaryManifest
    features: FeaturesManifest
    labels: LabelManifest

    def dictionary_file(self, name: str) -> FileEntry:
        """The file of the dictionary's folder that ends in `name`."""
        return next(entry for entry in self.dictionary.files if entry.key.rpartition("/")[2] == name)

    def artifacts(self) -> dict[str, str]:
        """Key prefix of each artifact, by what it is."""
        ref, corpus_id = self.dictionary.ref(), self.features.corpus_id
        return {
            "dictionary": paths.dictionary(ref.name, ref.version),
            "features": paths.features(ref.name, ref.version, corpus_id),
            "labels": paths.label_run(ref.name, ref.version, self.labels.run_id),
        }

    def lineage(self) -> dict[str, str]:
        """Ids of everything that the release came from."""
        return {
            "dictionary": str(self.dictionary.ref()),
            "weights_sha256": self.dictionary.weights().sha256,
            "fit_id": self.dictionary.fit_id,
            **self._training(),
            "corpus_id": self.features.corpus_id,
            "encoding_harvest_id": self.features.harvest_id,
            "features_id": self.features.features_id,
            "label_run_id": self.labels.run_id,
        }

    def _training(self) -> dict[str, str]:
        harvest_ids, origin = self.dictionary.harvest_ids, self.dictionary.origin
        lineage = {"training_harvest_id": ",".join(harvest_ids)} if harvest_ids else {}
        if origin is not None:
            lineage |= {"imported_from": origin.format}
            lineage |= {f"sha256 of imported {file.name}": file.sha256 for file in origin.files}
        return lineage


def read_sources(store: ObjectStore, spec: PublishSpec) -> Sources:
    """Read the three manifests.

    Raises:
        MissingArtifactError: one of them is not in the store.
        SpecError: the features or labels were made from other weights or features than the release would hold.
    """
    name, version = parse_reference("dictionary", spec.dictionary)
    dictionary = read_record(store, paths.manifest(paths.dictionary(name, version)), DictionaryManifest)
    features = read_record(
        store, paths.manifest(paths.features(name, version, spec.corpus)), FeaturesManifest
    )
    labels = read_record(store, paths.manifest(paths.label_run(name, version, spec.label_run)), LabelManifest)
    if features.dictionary != dictionary.ref():
        raise SpecError(
            "corpus", spec.corpus, mend="Its features are of other weights: build the features again."
        )
    if labels.features_id != features.features_id or labels.dictionary != dictionary.ref():
        raise SpecError(
            "label_run",
            spec.label_run,
            mend=f"It labels features {labels.features_id}, the corpus has {features.features_id}: label again.",
        )
    return Sources(dictionary, features, labels)


def dictionary_config(store: ObjectStore, sources: Sources) -> dict[str, Any]:
    """The dictionary's cfg.json."""
    config: dict[str, Any] = json.loads(store.get(sources.dictionary_file("cfg.json").key))
    return config
