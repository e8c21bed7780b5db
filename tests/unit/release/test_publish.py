"""Publish: what a release names, when it is the same and when it is another."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fixtures.releases import (
    TEXTS,
    Artifacts,
    publish_spec,
    write_artifacts,
    write_dictionary,
    write_features,
    write_label_run,
)
from thresher.contracts import paths
from thresher.contracts.errors import AlreadyExistsError, IntegrityError, MissingArtifactError, SpecError
from thresher.contracts.ids import sha256_hex
from thresher.contracts.schemas import LABELS
from thresher.dictionary.formats.import_dictionary import import_dictionary
from thresher.dictionary.formats.spec import ImportDictionarySpec
from thresher.release import publish as publishing
from thresher.release.inspect import inspect
from thresher.release.publish import publish
from thresher.release.verify import verify
from thresher.storage import open_store

ARTIFACTS = ("dictionaries/tiny/1", "features/tiny/1/corpus0123456789", "releases/tiny-labelled/1")


@pytest.fixture
def root(tmp_path):
    return f"file://{tmp_path}/root"


@pytest.fixture
def folder_store(root):
    return open_store(root)


@pytest.fixture
def made(folder_store):
    return write_artifacts(folder_store)


def test_a_release_names_every_file_as_it_is(root, folder_store, made):
    manifest = publish(publish_spec(root, made))
    assert [file.path for file in manifest.files] == [
        "README.md",
        "cfg.json",
        "exemplars/part-000000.parquet",
        "exemplars/part-000001.parquet",
        "features.parquet",
        "labels.parquet",
        "lineage/dictionary.json",
        "lineage/features.json",
        "lineage/labels.json",
        "output_tokens.parquet",
        "sae_weights.safetensors",
        "scores.parquet",
    ]
    for file in manifest.files:
        data = folder_store.get(file.key)
        assert (file.size, file.sha256) == (len(data), sha256_hex(data))
    copied = {file.path for file in manifest.files if file.key.startswith("releases/")}
    assert copied == {"README.md", "labels.parquet", "scores.parquet"}


def test_labels_of_all_parts_are_there_once_in_order(root, folder_store, made):
    files = {file.path: file.key for file in publish(publish_spec(root, made)).files}
    merged = pq.read_table(io.BytesIO(folder_store.get(files["labels.parquet"])))
    assert merged.schema.equals(LABELS)
    assert dict(zip(merged["feature"].to_pylist(), merged["text"].to_pylist(), strict=True)) == TEXTS
    parts = [pq.read_table(io.BytesIO(folder_store.get(entry.key))) for entry in made.labels.labels]
    assert merged.equals(pa.concat_tables(parts).sort_by("feature"))


def test_the_card_says_how_good_it_is_and_where_it_is_from(root, folder_store, made):
    manifest = publish(publish_spec(root, made))
    card = folder_store.get("releases/tiny-labelled/1/README.md").decode()
    assert "| explained variance | 0.7500 |" in card
    assert "| simulation | 0.600 | 0.100 |" in card
    assert "| ok | 4 |" in card
    assert all(value in card for value in manifest.lineage.values())


def test_an_imported_dictionary_is_published_with_where_it_came_from(root, folder_store):
    write_dictionary(folder_store)
    source = {"format": "saelens", "path": str(folder_store.local_path("dictionaries/tiny/1"))}
    spec = {"root": root, "name": "adopted", "source": source, "site": "resid_post.3"}
    dictionary = import_dictionary(ImportDictionarySpec.parse(spec))
    features = write_features(folder_store, dictionary)
    release = publish(
        publish_spec(root, Artifacts(dictionary, features, write_label_run(folder_store, features)))
    )
    assert release.lineage["imported_from"] == "saelens"
    assert len(release.lineage["sha256 of imported sae_weights.safetensors"]) == 64
    assert "training_harvest_id" not in release.lineage
    [card] = [file for file in release.files if file.path == "README.md"]
    text = folder_store.get(card.key).decode()
    assert "It was imported, and not measured" in text
    assert "SAE.load_from_disk" in text
    assert verify(folder_store, f"releases/{release.name}/{release.version}") == []


def test_publishing_again_changes_nothing(root, folder_store, made):
    first = publish(publish_spec(root, made))
    before = {info.key: info.etag for info in folder_store.list("")}
    assert publish(publish_spec(root, made)) == first
    assert publish(publish_spec(root, made, version="1")) == first
    assert {info.key: info.etag for info in folder_store.list("")} == before


def test_other_content_takes_the_next_version(root, folder_store, made):
    publish(publish_spec(root, made))
    other = write_label_run(folder_store, made.features, name="other")
    assert publish(publish_spec(root, made, label_run=other.run_id)).version == "2"
    with pytest.raises(AlreadyExistsError, match="version 3"):
        publish(publish_spec(root, made, label_run=other.run_id, version="1"))


def test_an_interrupted_publish_is_finished_under_its_version(root, folder_store, made, monkeypatch):
    monkeypatch.setattr(publishing, "publish_manifest", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        publish(publish_spec(root, made))
    assert folder_store.head("releases/tiny-labelled/1/manifest.json") is None
    monkeypatch.undo()
    assert publish(publish_spec(root, made)).version == "1"


def test_parts_that_do_not_belong_together_are_refused(root, folder_store, made):
    stranger = write_features(folder_store, made.dictionary, corpus_id="other-corpus")
    run = write_label_run(folder_store, stranger)
    with pytest.raises(MissingArtifactError, match="label"):
        publish(publish_spec(root, made, label_run="no-such-run"))
    assert run.run_id != made.labels.run_id
    with pytest.raises(SpecError, match="label_run"):
        publish(publish_spec(root, made, label_run=run.run_id))
    assert list(folder_store.list("releases/")) == []


def test_features_of_other_weights_are_refused(root, folder_store, made):
    retrained = write_dictionary(folder_store, version="2", seed=5)
    key = paths.manifest(paths.dictionary("tiny", "1"))
    data = json.loads(folder_store.get(key))
    data["files"] = json.loads(retrained.model_dump_json())["files"]
    folder_store.put(key, json.dumps(data).encode())
    with pytest.raises(SpecError, match="corpus"):
        publish(publish_spec(root, made))


def test_a_missing_file_is_found_before_the_release_is(root, folder_store, made):
    folder_store.delete(made.features.exemplars[0].key)
    with pytest.raises(IntegrityError, match="part-000000"):
        publish(publish_spec(root, made))
    assert folder_store.head("releases/tiny-labelled/1/manifest.json") is None


@pytest.mark.parametrize(
    "changes", [{"dictionary": "tiny"}, {"name": "a/b"}, {"name": ".."}, {"dictionary": "x@/"}]
)
def test_a_name_that_is_none_is_refused(root, made, changes):
    with pytest.raises(SpecError):
        publish_spec(root, made, **changes)


@pytest.mark.parametrize("artifact", ARTIFACTS)
def test_verify_finds_each_flipped_and_missing_file(root, folder_store, made, artifact):
    publish(publish_spec(root, made))
    assert verify(folder_store, artifact) == []
    keys = [
        info.key
        for info in folder_store.list(f"{artifact}/")
        if not info.key.endswith(("manifest.json", "spec.json", "claim.json"))
    ]
    flipped, missing = keys[0], keys[-1]
    data = bytearray(folder_store.get(flipped))
    data[-1] ^= 1
    folder_store.put(flipped, bytes(data))
    folder_store.delete(missing)
    faults = verify(folder_store, artifact)
    assert len(faults) == 2
    assert any(fault.startswith(f"{flipped}: sha256") for fault in faults)
    assert f"{missing}: missing" in faults


def test_verify_and_inspect_refuse_what_is_no_artifact(folder_store):
    with pytest.raises(SpecError, match="releases/"):
        verify(folder_store, "somewhere/else")
    with pytest.raises(MissingArtifactError):
        inspect(folder_store, "releases/none/1")


def test_inspect_tells_what_matters(root, folder_store, made):
    publish(publish_spec(root, made))
    release = dict(inspect(folder_store, "releases/tiny-labelled/1"))
    assert release["files"] == "12"
    assert release["lineage.label_run_id"] == made.labels.run_id
    dictionary = dict(inspect(folder_store, "dictionaries/tiny/1"))
    assert dictionary["metrics.explained_variance"] == "0.75"
    labels = dict(inspect(folder_store, paths.label_run("tiny", "1", made.labels.run_id)))
    assert (labels["dictionary"], labels["states.ok"], labels["mean_scores.simulation"]) == (
        "tiny@1",
        "4",
        "0.6",
    )
