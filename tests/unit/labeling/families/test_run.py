"""Families of a store's labels: from stored runs to the artifact."""

import pytest

from fixtures.exemplars import RULES
from fixtures.label_runs import read_rows
from thresher.contracts import paths
from thresher.contracts.errors import MissingArtifactError
from thresher.contracts.manifests import FamiliesManifest
from thresher.contracts.schemas import FAMILIES, LABEL_LINKS
from thresher.labeling.families.run import families
from thresher.labeling.families.spec import FamiliesSpec
from thresher.labeling.run import label
from thresher.storage.artifacts import read_record


@pytest.fixture
def spec(planted_store) -> FamiliesSpec:
    return FamiliesSpec(root=planted_store.url, dictionary="planted@1")


def test_labels_that_say_the_same_are_one_family(planted_store, scripted_llm, label_spec, spec) -> None:
    scripted_llm.explanation = "Words about the sea"
    run = label(label_spec())
    manifest = families(spec)
    assert (manifest.num_labels, manifest.num_families, manifest.num_in_families) == (4, 1, 4)
    assert manifest.num_links == {"duplicate": 0, "confusable": 0, "synonym": 6}
    members = read_rows(planted_store, [manifest.families], FAMILIES)
    assert {row["name"] for row in members} == {"Words about the sea"}
    assert {row["feature"] for row in members} == set(RULES)
    assert {row["run_id"] for row in members} == {run.run_id} == set(manifest.run_ids)
    links = read_rows(planted_store, [manifest.links], LABEL_LINKS)
    assert [(row["feature"], row["other"]) for row in links] == [
        (3, 5),
        (3, 8),
        (3, 9),
        (5, 8),
        (5, 9),
        (8, 9),
    ]
    assert {row["decoder_cosine"] for row in links} == {None}


def test_different_labels_are_in_none(planted_store, label_spec, spec) -> None:
    label(label_spec())
    manifest = families(spec)
    assert (manifest.num_families, sum(manifest.num_links.values())) == (0, 0)
    assert read_rows(planted_store, [manifest.families], FAMILIES) == []


def test_made_once_and_anew_when_labels_change(planted_store, scripted_llm, label_spec, spec) -> None:
    label(label_spec())
    first = families(spec)
    assert families(spec) == first
    key = paths.manifest(paths.families("planted", "1", first.families_id))
    assert read_record(planted_store, key, FamiliesManifest) == first
    scripted_llm.explanation = "digits"
    label(label_spec(seed=1))
    assert families(spec).families_id != first.families_id


def test_a_dictionary_without_labels_says_so(spec) -> None:
    with pytest.raises(MissingArtifactError, match="label it first"):
        families(spec)
