"""What only a database server can do wrong: refuse, be away, have many writers. The rest is in tests/unit/catalog."""

import multiprocessing
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from fixtures.releases import FIRST_RUN_AT, TEXTS, write_artifacts, write_label_run
from thresher.catalog import CatalogError, database, open_catalog
from thresher.catalog.browse import list_features, list_label_runs
from thresher.catalog.fulltext import POSTGRESQL_VECTOR
from thresher.catalog.ingest import ingest_labels
from thresher.contracts.manifests import LabelManifest
from thresher.storage import open_store

pytestmark = pytest.mark.real


def test_a_wrong_password_is_told_and_not_shown(postgres_url):
    wrong = postgres_url.replace(str(urlsplit(postgres_url).password), "hunter2")
    with pytest.raises(CatalogError, match="Correct the user or password") as caught:
        open_catalog(wrong)
    assert "hunter2" not in str(caught.value)


def test_a_database_that_is_not_there_is_told(postgres_url):
    with pytest.raises(CatalogError, match="Create the database"):
        open_catalog(f"{postgres_url}_missing")


def test_a_user_who_may_only_read_can_search_but_not_write(postgres_url):
    catalog = open_catalog(postgres_url)
    with catalog.write() as connection:
        connection.execute(text("CREATE ROLE reader LOGIN PASSWORD 'reading'"))
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"))
    parts = urlsplit(postgres_url)
    reader = open_catalog(f"postgresql://reader:reading@127.0.0.1:{parts.port}{parts.path}")
    assert list_label_runs(reader) == []
    with pytest.raises(CatalogError, match="Grant the user"), reader.write() as connection:
        connection.execute(text("DELETE FROM labels"))
    reader.close()
    with catalog.write() as connection:
        connection.execute(text("DROP OWNED BY reader"))
        connection.execute(text("DROP ROLE reader"))
    catalog.close()


def test_a_second_writer_waits_and_then_says_who_is_in_the_way(postgres_url, monkeypatch):
    monkeypatch.setattr(database, "LOCK_TIMEOUT_S", 1)
    first, second = open_catalog(postgres_url), open_catalog(postgres_url)
    with first.write(), pytest.raises(CatalogError, match="Another process has been writing"), second.write():
        pass
    with second.write() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    first.close()
    second.close()


def test_the_search_index_is_used(postgres_url, tmp_path):
    store = open_store(f"file://{tmp_path}/root")
    catalog = open_catalog(postgres_url)
    ingest_labels(catalog, store, write_artifacts(store).labels)
    # exec_driver_sql takes the text as it is: text() would read the colons as parameters.
    query = f"EXPLAIN SELECT 1 FROM labels WHERE {POSTGRESQL_VECTOR} @@ to_tsquery('simple', 'dig:*')"
    with catalog.write() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(connection.exec_driver_sql(query).scalars())
    assert "ix_label_search" in plan
    catalog.close()


def ingest_in_process(url: str, root: str, manifest: LabelManifest, barrier) -> None:
    catalog, store = open_catalog(url), open_store(root)
    barrier.wait()
    ingest_labels(catalog, store, manifest)


def test_runs_that_are_completed_at_once_leave_the_pointer_at_the_last(postgres_url, tmp_path):
    root = f"file://{tmp_path}/root"
    store = open_store(root)
    made = write_artifacts(store)
    runs = [made.labels] + [
        write_label_run(
            store,
            made.features,
            name=f"run-{day}",
            texts={0: f"day {day}"},
            started_at=FIRST_RUN_AT + timedelta(days=day),
        )
        for day in (1, 2)
    ]
    open_catalog(postgres_url).close()
    processes = multiprocessing.get_context("spawn")
    barrier = processes.Barrier(len(runs))
    workers = [
        processes.Process(target=ingest_in_process, args=(postgres_url, root, run, barrier)) for run in runs
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * len(runs)
    catalog = open_catalog(postgres_url)
    shown = list_features(catalog, made.features.features_id).features
    assert {item.feature: item.label.text for item in shown if item.label} == TEXTS | {0: "day 2"}
    catalog.close()
