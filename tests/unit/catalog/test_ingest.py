"""Ingest: exactly once, only verified bytes, nothing seen before it is whole."""

import multiprocessing
from dataclasses import asdict
from datetime import timedelta

import pytest
from sqlalchemy import Table, select

from fixtures.releases import (
    DEAD_FEATURE,
    FIRST_RUN_AT,
    NUM_LATENTS,
    TEXTS,
    label_id,
    publish_spec,
    write_artifacts,
    write_dictionary,
    write_features,
    write_label_run,
)
from thresher.catalog import ingest
from thresher.catalog.browse import (
    get_feature,
    list_dictionaries,
    list_features,
    list_label_runs,
    list_releases,
)
from thresher.catalog.database import Catalog, open_catalog
from thresher.catalog.events import retract
from thresher.catalog.ingest import ingest_features, ingest_labels, ingest_release
from thresher.catalog.rebuild import ingest_all, rebuild
from thresher.catalog.search import search
from thresher.catalog.tables import labels, metadata, scores
from thresher.contracts.errors import IntegrityError, SpecError
from thresher.contracts.manifests import LabelManifest
from thresher.contracts.states import State
from thresher.release.publish import publish
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import publish_manifest

LATER = FIRST_RUN_AT + timedelta(days=1)
DICTIONARY = "tiny@1"


@pytest.fixture
def root(tmp_path):
    return f"file://{tmp_path}/root"


@pytest.fixture
def catalog(catalog_url):
    opened = open_catalog(catalog_url)
    yield opened
    opened.close()


@pytest.fixture
def local_store(root) -> ObjectStore:
    return open_store(root)


def contents(catalog: Catalog) -> dict[str, list[tuple]]:
    with catalog.read() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(select(table))))
            for table in metadata.sorted_tables
        }


def count(catalog: Catalog, table: Table) -> int:
    with catalog.read() as connection:
        return len(connection.execute(select(table)).all())


def current_texts(catalog: Catalog, features_id: str) -> dict[int, str | None]:
    page = list_features(catalog, features_id, limit=NUM_LATENTS)
    return {item.feature: item.label.text for item in page.features if item.label is not None}


def test_rows_come_out_as_they_were_written(catalog, local_store):
    made = write_artifacts(local_store, failed={5: State.REFUSED})
    ingest_labels(catalog, local_store, made.labels)

    [dictionary] = list_dictionaries(catalog)
    assert (dictionary.dictionary, dictionary.num_latents, dictionary.num_labelled) == (
        DICTIONARY,
        NUM_LATENTS,
        len(TEXTS),
    )
    assert dictionary.metrics == made.dictionary.metrics.model_dump()
    assert dictionary.feature_sets[0].histogram_edges == [0.0, 1.0, 2.0]

    found = get_feature(catalog, made.features.features_id, 1).feature
    assert (found.num_active, found.density, found.max, found.histogram) == (4, 0.002, 2.0, (1, 3))
    assert found.top_tokens == (" token1", "<b>")
    assert found.label is not None
    assert found.label.text == TEXTS[1]
    assert found.label.created_at == FIRST_RUN_AT + timedelta(seconds=1)
    own, baseline = found.label.scores
    assert asdict(own) | {"value": pytest.approx(own.value)} == {
        "score_type": "simulation",
        "shuffled": False,
        "scorer_model": "simulator",
        "scorer_revision": "r1",
        "qualified": True,
        "value": 0.61,
        "ci_low": pytest.approx(0.51),
        "ci_high": pytest.approx(0.71),
        "ci_method": "bootstrap",
        "lift": pytest.approx(0.41),
        "lift_low": pytest.approx(0.31),
        "lift_high": pytest.approx(0.51),
        "state": "ok",
        "n": 20,
        "n_unparsed": 1,
    }
    assert baseline.shuffled
    assert baseline.value is None


def test_a_feature_without_label_keeps_the_state_of_its_statistics(catalog, local_store):
    made = write_artifacts(local_store, failed={5: State.REFUSED})
    ingest_labels(catalog, local_store, made.labels)
    features_id = made.features.features_id

    by_state = {
        state: [item.feature for item in list_features(catalog, features_id, state=state).features]
        for state in State
    }
    assert by_state[State.DEAD] == [DEAD_FEATURE]
    assert by_state[State.REFUSED] == [5]
    assert by_state[State.OK] == [0, 1, 2, 3, 4, *range(6, DEAD_FEATURE)]


def test_features_of_an_imported_dictionary_are_taken(catalog, local_store):
    """It may have met no harvest, and so have no quality."""
    made = write_dictionary(local_store)
    unmeasured = made.model_copy(
        update={"version": "2", "harvest_id": None, "metrics": None, "k": None, "num_training_rows": None}
    )
    publish_manifest(local_store, "dictionaries/tiny/2", unmeasured)
    ingest_features(catalog, local_store, write_features(local_store, unmeasured))
    [shown] = list_dictionaries(catalog)
    assert (shown.dictionary, shown.metrics) == ("tiny@2", {})


def test_ingesting_again_changes_nothing(catalog, local_store):
    made = write_artifacts(local_store)
    ingest_labels(catalog, local_store, made.labels)
    before = contents(catalog)
    ingest_features(catalog, local_store, made.features)
    ingest_labels(catalog, local_store, made.labels)
    assert contents(catalog) == before
    assert count(catalog, labels) == len(TEXTS)
    assert count(catalog, scores) == 2 * len(TEXTS)


def test_an_interrupted_ingest_shows_nothing_and_is_finished_later(catalog, local_store, monkeypatch):
    made = write_artifacts(local_store)
    real = ingest.read_stored_table

    def read_until_scores(store, entry, schema):
        if "scores-000001" in entry.key:
            raise KeyboardInterrupt
        return real(store, entry, schema)

    monkeypatch.setattr(ingest, "read_stored_table", read_until_scores)
    with pytest.raises(KeyboardInterrupt):
        ingest_labels(catalog, local_store, made.labels)
    assert list_label_runs(catalog) == []
    assert current_texts(catalog, made.features.features_id) == {}
    assert search(catalog, "digits").total == 0
    assert get_feature(catalog, made.features.features_id, 0).labels == ()

    monkeypatch.undo()
    ingest_labels(catalog, local_store, made.labels)
    assert current_texts(catalog, made.features.features_id) == TEXTS
    assert count(catalog, labels) == len(TEXTS)


@pytest.mark.parametrize("which", ["stats", "labels", "scores"])
def test_a_flipped_byte_is_refused_by_name(catalog, local_store, which):
    made = write_artifacts(local_store)
    entry = {"stats": made.features.stats, "labels": made.labels.labels[1], "scores": made.labels.scores[0]}[
        which
    ]
    data = bytearray(local_store.get(entry.key))
    data[len(data) // 2] ^= 1
    local_store.put(entry.key, bytes(data))
    with pytest.raises(IntegrityError, match=entry.key):
        ingest_labels(catalog, local_store, made.labels)
    assert current_texts(catalog, made.features.features_id) == {}


def test_a_score_of_a_label_that_is_not_there_is_refused(catalog, local_store):
    made = write_artifacts(local_store)
    lacking = made.labels.model_copy(update={"labels": made.labels.labels[:1]})
    with pytest.raises(IntegrityError, match="scores-000000"):
        ingest_labels(catalog, local_store, lacking)


def test_features_of_other_weights_than_the_dictionary_has_are_refused(catalog, local_store):
    made = write_artifacts(local_store)
    wrong = made.features.dictionary.model_copy(update={"weights_sha256": "0" * 64})
    with pytest.raises(IntegrityError, match="other weights"):
        ingest_features(catalog, local_store, made.features.model_copy(update={"dictionary": wrong}))


def test_a_catalog_of_another_root_is_refused(catalog, local_store, tmp_path):
    ingest_features(catalog, local_store, write_features(local_store, write_dictionary(local_store)))
    other = open_store(f"file://{tmp_path}/other")
    features = write_features(other, write_dictionary(other, seed=1), corpus_id="another-corpus")
    with pytest.raises(IntegrityError, match="another root"):
        ingest_features(catalog, other, features)


def test_the_last_run_moves_the_pointer_where_it_came_out_well_and_keeps_it_elsewhere(catalog, local_store):
    made = write_artifacts(local_store)
    second = write_label_run(
        local_store,
        made.features,
        name="second",
        texts={0: "dates"},
        failed={1: State.API_ERROR},
        started_at=LATER,
    )
    ingest_labels(catalog, local_store, made.labels)
    ingest_labels(catalog, local_store, second)
    assert current_texts(catalog, made.features.features_id) == TEXTS | {0: "dates"}
    history = get_feature(catalog, made.features.features_id, 0)
    assert [label.text for label in history.labels] == ["dates", TEXTS[0]]


def test_the_order_of_ingest_does_not_matter(catalog, local_store):
    made = write_artifacts(local_store)
    second = write_label_run(local_store, made.features, name="second", texts={0: "dates"}, started_at=LATER)
    ingest_labels(catalog, local_store, second)
    ingest_labels(catalog, local_store, made.labels)
    assert current_texts(catalog, made.features.features_id) == TEXTS | {0: "dates"}


def test_the_run_counts_before_the_label(catalog, local_store):
    made = write_artifacts(local_store, texts={0: "of the last run", 9: "its end"})
    within = write_label_run(
        local_store,
        made.features,
        name="second",
        texts={0: "newer"},
        started_at=FIRST_RUN_AT + timedelta(seconds=5),
    )
    for run in (made.labels, within):
        ingest_labels(catalog, local_store, run)
    assert current_texts(catalog, made.features.features_id)[0] == "of the last run"


def test_releases_are_listed_by_version(catalog, root, local_store):
    made = write_artifacts(local_store)
    for version in ("10", "9"):
        manifest = publish(publish_spec(root, made, name=f"v{version}", version=version))
        ingest_release(catalog, manifest)
        ingest_release(catalog, manifest.model_copy(update={"name": "same", "release_id": f"id{version}"}))
        ingest_release(catalog, manifest)
    found = list_releases(catalog)
    assert [(item.name, item.version) for item in found] == [
        ("same", "9"),
        ("same", "10"),
        ("v10", "10"),
        ("v9", "9"),
    ]
    assert found[-1].lineage["label_run_id"] == made.labels.run_id
    assert (found[-1].num_files, found[-1].num_bytes) == (12, sum(file.size for file in manifest.files))


def test_a_retracted_label_is_kept_but_never_current(catalog, local_store):
    made = write_artifacts(local_store)
    second = write_label_run(local_store, made.features, name="second", texts={0: "wrong"}, started_at=LATER)
    for run in (made.labels, second):
        ingest_labels(catalog, local_store, run)
    of_second = label_id(second.run_id, 0)
    first = retract(catalog, local_store, second.run_id, of_second, reason="misread", author="ana", at=LATER)
    again = retract(catalog, local_store, second.run_id, of_second, reason="other", author="bo", at=LATER)

    assert again == first
    assert current_texts(catalog, made.features.features_id) == TEXTS
    assert search(catalog, "wrong").total == 0
    history = get_feature(catalog, made.features.features_id, 0)
    assert [label.text for label in history.labels] == ["wrong", TEXTS[0]]
    assert history.retracted == {(second.run_id, of_second): "misread"}


def test_retracting_an_unknown_label_is_refused(catalog, local_store):
    with pytest.raises(SpecError, match="nothing/here"):
        retract(catalog, local_store, "nothing", "here", reason="", author="", at=LATER)


@pytest.mark.parametrize("make", [rebuild, ingest_all])
def test_the_catalog_can_be_made_again_from_storage(catalog, root, local_store, make):
    made = write_artifacts(local_store)
    second = write_label_run(local_store, made.features, name="second", texts={0: "dates"}, started_at=LATER)
    for run in (made.labels, second):
        ingest_labels(catalog, local_store, run)
    retract(
        catalog,
        local_store,
        made.labels.run_id,
        label_id(made.labels.run_id, 2),
        reason="",
        author="",
        at=LATER,
    )
    ingest_release(catalog, publish(publish_spec(root, made)))
    before = contents(catalog)
    make(catalog, local_store)
    assert contents(catalog) == before
    assert search(catalog, "dates").total == 1


def test_a_failed_rebuild_leaves_the_catalog_as_it_was(catalog, local_store):
    made = write_artifacts(local_store)
    ingest_labels(catalog, local_store, made.labels)
    before = contents(catalog)
    local_store.put(made.labels.labels[0].key, b"damaged")
    with pytest.raises(IntegrityError):
        rebuild(catalog, local_store)
    assert contents(catalog) == before
    assert search(catalog, "digits").total == 2


def ingest_in_process(catalog_url: str, root: str, manifest: LabelManifest, barrier) -> None:
    barrier.wait()
    ingest_labels(open_catalog(catalog_url), open_store(root), manifest)


def test_processes_that_ingest_one_run_at_once_leave_one_set_of_rows(catalog_url, root, local_store):
    made = write_artifacts(local_store, num_parts=4)
    processes = multiprocessing.get_context("spawn")
    barrier = processes.Barrier(3)
    workers = [
        processes.Process(target=ingest_in_process, args=(catalog_url, root, made.labels, barrier))
        for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    catalog = open_catalog(catalog_url)
    assert count(catalog, labels) == len(TEXTS)
    assert count(catalog, scores) == 2 * len(TEXTS)
    assert current_texts(catalog, made.features.features_id) == TEXTS
    catalog.close()
