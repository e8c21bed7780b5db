"""The whole catalog from storage: the artifacts are the truth, the database is a view of them."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import TypeVar

from sqlalchemy import Connection

from thresher.catalog.database import Catalog
from thresher.catalog.events import stored_events, write_event
from thresher.catalog.fulltext import clear_index
from thresher.catalog.ingest import Transaction, write_families, write_features, write_labels, write_release
from thresher.catalog.tables import metadata
from thresher.contracts.manifests import (
    FamiliesManifest,
    FeaturesManifest,
    LabelManifest,
    Record,
    ReleaseManifest,
)
from thresher.storage import ObjectStore
from thresher.storage.artifacts import read_record

RecordT = TypeVar("RecordT", bound=Record)


def ingest_all(catalog: Catalog, store: ObjectStore) -> None:
    """Put every whole artifact and event of the store into the catalog; what is in already stays.

    Raises:
        IntegrityError: a stored file is corrupt; files before it are in.
    """
    _write_all(catalog.write, store)


def rebuild(catalog: Catalog, store: ObjectStore) -> None:
    """Empty the catalog and make it again, in one transaction: readers see the old one until it is done.

    Raises:
        IntegrityError: a stored file is corrupt; the catalog stays as it was.
    """
    with catalog.write() as connection:
        _clear(connection)
        _write_all(lambda: nullcontext(connection), store)


def _clear(connection: Connection) -> None:
    for table in reversed(metadata.sorted_tables):
        connection.execute(table.delete())
    clear_index(connection)


def _write_all(transaction: Transaction, store: ObjectStore) -> None:
    for features in _manifests(store, "features/", FeaturesManifest):
        write_features(transaction, store, features)
    for run in _manifests(store, "labels/", LabelManifest):
        write_labels(transaction, store, run)
    for families in _manifests(store, "families/", FamiliesManifest):
        write_families(transaction, store, families)
    for release in _manifests(store, "releases/", ReleaseManifest):
        write_release(transaction, release)
    for event in stored_events(store):
        with transaction() as connection:
            write_event(connection, event)


def _manifests(store: ObjectStore, prefix: str, model: type[RecordT]) -> Iterator[RecordT]:
    for info in store.list(prefix):
        if info.key.endswith("/manifest.json"):
            yield read_record(store, info.key, model)
