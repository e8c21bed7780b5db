"""Events of nights: beside the artifacts, in the catalog, and there again after a rebuild."""

from datetime import UTC, datetime, timedelta

import pytest
from alembic import command
from sqlalchemy import insert, select, text

from fixtures.releases import label_id, write_artifacts
from thresher.catalog import open_catalog, schema
from thresher.catalog.database import Catalog, _engine, _parse
from thresher.catalog.events import EVENT, NightEvent, record_night, retract, stored_events, write_event
from thresher.catalog.ingest import ingest_labels
from thresher.catalog.rebuild import rebuild
from thresher.catalog.tables import events
from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import FileEntry, NightlyManifest
from thresher.storage import open_store

BEGUN_AT = datetime(2026, 3, 1, 1, 0, tzinfo=UTC)
FILE = FileEntry(key="nightlies/2026-03-01/report.json", size=1, sha256="0" * 64)
MANIFEST = NightlyManifest(
    night_id="2026-03-01",
    spec={},
    epochs=[1],
    started_at=BEGUN_AT,
    ended_at=BEGUN_AT + timedelta(hours=5),
    outcome="complete",
    needs_found={"unlabelled": 7},
    needs_left={},
    states={"ok": 7},
    num_changed=7,
    num_tokens_paid=1234,
    batches=[],
    report=FILE,
    text=FILE,
    code_version="test",
)


@pytest.fixture
def local_store(tmp_path):
    return open_store(f"file://{tmp_path}/root")


def rows(catalog: Catalog) -> list[dict]:
    with catalog.read() as connection:
        return [dict(row._mapping) for row in connection.execute(select(events).order_by(events.c.event_id))]


def test_a_night_is_recorded_once_and_restored_by_a_rebuild(catalog_url, local_store):
    catalog = open_catalog(catalog_url)
    made = write_artifacts(local_store)
    ingest_labels(catalog, local_store, made.labels)
    retract(
        catalog,
        local_store,
        made.labels.run_id,
        label_id(made.labels.run_id, 0),
        reason="misread",
        author="ana",
        at=BEGUN_AT,
    )
    event = record_night(local_store, MANIFEST)
    assert record_night(local_store, MANIFEST) == event
    for _ in range(2):
        with catalog.write() as connection:
            write_event(connection, event)
    before = rows(catalog)
    [night] = [row for row in before if row["kind"] == "nightly"]
    assert (night["night_id"], night["run_id"], night["created_at"]) == (
        "2026-03-01",
        None,
        MANIFEST.ended_at,
    )
    assert night["details"]["states"] == {"ok": 7}
    assert len(before) == 2
    rebuild(catalog, local_store)
    assert rows(catalog) == before


def test_a_damaged_event_is_named(local_store):
    event = record_night(local_store, MANIFEST)
    assert [type(item) for item in stored_events(local_store)] == [NightEvent]
    assert EVENT.validate_json(event.model_dump_json()) == event
    local_store.put("events/x.json", b'{"kind": "other"}')
    with pytest.raises(IntegrityError, match=r"events/x\.json"):
        list(stored_events(local_store))


def test_events_of_before_survive_the_migration(catalog_url):
    engine = _engine(_parse(catalog_url))
    catalog = Catalog(engine)
    with catalog.write() as connection:
        config = schema.alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        old = {
            "event_id": "e",
            "kind": "retraction",
            "run_id": "r",
            "label_id": "l",
            "reason": "",
            "author": "a",
        }
        names = ", ".join(old)
        values = ", ".join(f":{name}" for name in old)
        connection.execute(
            text(f"INSERT INTO events ({names}, created_at) VALUES ({values}, '2026-01-01 00:00:00')"), old
        )
    catalog.close()
    newer = open_catalog(catalog_url)
    [row] = rows(newer)
    assert (row["run_id"], row["label_id"], row["night_id"]) == ("r", "l", None)
    with newer.write() as connection:
        connection.execute(
            insert(events).values(event_id="n", kind="nightly", reason="", author="a", created_at=BEGUN_AT)
        )
    assert len(rows(newer)) == 2
