"""Families of a dictionary's current labels: read, compare, group, publish."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

import thresher
from thresher.contracts import paths
from thresher.contracts.errors import MissingArtifactError
from thresher.contracts.ids import canonical_json, content_id, sha256_hex
from thresher.contracts.manifests import FamiliesManifest, FeaturesManifest
from thresher.contracts.names import parse_reference
from thresher.contracts.schemas import FAMILIES, LABEL_LINKS
from thresher.contracts.states import State
from thresher.labeling.families.feature_evidence import read_evidence
from thresher.labeling.families.grouping import text_families
from thresher.labeling.families.links import KINDS, Linker, Links, kind_names
from thresher.labeling.families.near_rows import IntArray
from thresher.labeling.families.spec import FamiliesSpec
from thresher.labeling.families.text_similarity import TextSimilarity
from thresher.labeling.families.texts import normalised
from thresher.labeling.standings.dictionaries import read_dictionaries
from thresher.labeling.standings.standing import Standing, read_standings
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import create_record, find_record, put_hashed_file


@dataclass(frozen=True)
class CurrentLabels:
    """Labels that came out well, by feature, and the features artifact of the last run."""

    features: FeaturesManifest
    standings: list[Standing]

    @property
    def sha256(self) -> str:
        rows = [[item.feature, item.run.run_id, item.label_id] for item in self.standings]
        return sha256_hex(canonical_json(rows).encode())


def families(spec: FamiliesSpec) -> FamiliesManifest:
    """Link the current labels of a dictionary, or find them linked.

    Raises:
        SpecError: the dictionary is no name@version.
        MissingArtifactError: it has no labels yet.
        IntegrityError: a file is damaged.
    """
    store = open_store(spec.root)
    name, version = parse_reference("dictionary", spec.dictionary)
    labels = _current_labels(store, spec.dictionary)
    parts = {
        "spec": spec.identity(),
        "features_id": labels.features.features_id,
        "labels": labels.sha256,
        "code_version": thresher.__version__,
    }
    families_id = content_id("families", parts)
    artifact = paths.families(name, version, families_id)
    made = find_record(store, paths.manifest(artifact), FamiliesManifest)
    return made or _publish(store, spec, labels, families_id, artifact)


def _current_labels(store: ObjectStore, dictionary: str) -> CurrentLabels:
    found = read_dictionaries(store, [dictionary])
    standings = read_standings(store, found[0], score_types=()) if found else None
    last = standings.last_run if standings is not None else None
    features = found[0].features_over(last.corpus_id) if last is not None else None
    if standings is None or features is None:
        raise MissingArtifactError(f"{dictionary} has no labels in {store.url}: label it first.")
    ok = [item for _, item in sorted(standings.by_feature.items()) if item.state == State.OK]
    return CurrentLabels(features, ok)


def _publish(
    store: ObjectStore, spec: FamiliesSpec, labels: CurrentLabels, families_id: str, artifact: str
) -> FamiliesManifest:
    links, rows = find_families(store, spec, labels)
    counts = Counter(kind_names(links.kind_P))
    manifest = FamiliesManifest(
        families_id=families_id,
        spec=spec.identity(),
        dictionary=labels.features.dictionary,
        corpus_id=labels.features.corpus_id,
        features_id=labels.features.features_id,
        run_ids=sorted({item.run.run_id for item in labels.standings}),
        labels_sha256=labels.sha256,
        num_labels=len(labels.standings),
        num_families=len({row["family_id"] for row in rows}),
        num_in_families=len(rows),
        num_links={kind: counts[kind] for kind in KINDS},
        links=put_hashed_file(store, f"{artifact}/links", ".parquet", _parquet(_link_table(labels, links))),
        families=put_hashed_file(
            store, f"{artifact}/families", ".parquet", _parquet(pa.Table.from_pylist(rows, schema=FAMILIES))
        ),
        code_version=thresher.__version__,
    )
    return create_record(store, paths.manifest(artifact), manifest)


def find_families(
    store: ObjectStore, spec: FamiliesSpec, labels: CurrentLabels
) -> tuple[Links, list[dict[str, Any]]]:
    """Links between the labels, by place, and rows of the families table."""
    forms = [normalised(item.text or "") for item in labels.standings]
    distinct = sorted(set(forms))
    place = {form: index for index, form in enumerate(distinct)}
    text_of_N: IntArray = np.array([place[form] for form in forms], np.int64)
    texts = TextSimilarity(distinct)
    near = texts.near(spec.near_text, spec.max_near_texts, spec.block_rows)
    evidence = read_evidence(store, labels.features, [item.feature for item in labels.standings])
    links = Linker(texts, near, text_of_N, evidence, spec).links()
    return links, _family_rows(labels, text_of_N, texts, near)


def _family_rows(
    labels: CurrentLabels, text_of_N: IntArray, texts: TextSimilarity, near: sparse.csr_matrix
) -> list[dict[str, Any]]:
    labels_of: defaultdict[int, list[Standing]] = defaultdict(list)
    for text, item in zip(text_of_N, labels.standings, strict=True):
        labels_of[int(text)].append(item)
    counts = [len(labels_of[text]) for text in range(texts.ngrams.shape[0])]
    rows: list[dict[str, Any]] = []
    for family in text_families(near, counts):
        name = labels_of[family.centre][0].text
        members = [
            (item, similarity)
            for text, similarity in zip(family.texts, family.similarity, strict=True)
            for item in labels_of[text]
        ]
        family_id = content_id("family", {"labels": sorted(item.label_id for item, _ in members)})
        rows += [
            {
                "family_id": family_id,
                "name": name,
                "feature": item.feature,
                "run_id": item.run.run_id,
                "label_id": item.label_id,
                "text": item.text,
                "similarity": similarity,
            }
            for item, similarity in members
        ]
    return sorted(rows, key=lambda row: (row["family_id"], row["feature"]))


def _link_table(labels: CurrentLabels, links: Links) -> pa.Table:
    features = np.array([item.feature for item in labels.standings], np.int32)
    columns = {
        "feature": features[links.first_P],
        "other": features[links.second_P],
        "kind": kind_names(links.kind_P),
        "text_similarity": links.text_P,
        "decoder_cosine": pa.array(links.decoder_P, from_pandas=True),
        "cofiring": links.cofiring_P,
    }
    return pa.table(columns, schema=LABEL_LINKS)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data
