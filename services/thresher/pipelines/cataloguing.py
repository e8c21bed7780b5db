"""The one committer: after a stage is whole in storage, what it made enters the catalog."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from thresher.catalog import Catalog, open_catalog
from thresher.catalog.database import DEFAULT_URL
from thresher.catalog.events import record_night, write_event
from thresher.catalog.ingest import (
    ingest_dictionary,
    ingest_families,
    ingest_features,
    ingest_labels,
    ingest_release,
)
from thresher.contracts.manifests import (
    DictionaryManifest,
    FamiliesManifest,
    FeaturesManifest,
    LabelManifest,
    NightlyManifest,
    ReleaseManifest,
)
from thresher.storage import open_store

CATALOG_VARIABLE = "THRESHER_CATALOG"


def catalog_url() -> str:
    """The catalog to use: THRESHER_CATALOG, else a SQLite file in this folder."""
    return os.environ.get(CATALOG_VARIABLE, DEFAULT_URL)


@contextmanager
def the_catalog() -> Iterator[Catalog]:
    """The catalog, open for the block."""
    catalog = open_catalog(catalog_url())
    try:
        yield catalog
    finally:
        catalog.close()


def catalogue_dictionary(manifest: DictionaryManifest) -> None:
    """Enter a dictionary and its lineage; does nothing if it is in."""
    with the_catalog() as catalog:
        ingest_dictionary(catalog, manifest)


def catalogue_features(root: str, manifest: FeaturesManifest) -> None:
    """Enter a dictionary's features; does nothing if they are in."""
    with the_catalog() as catalog:
        ingest_features(catalog, open_store(root), manifest)


def catalogue_labels(root: str, manifest: LabelManifest) -> None:
    """Enter a run's labels and scores; does nothing if they are in."""
    with the_catalog() as catalog:
        ingest_labels(catalog, open_store(root), manifest)


def catalogue_families(root: str, manifest: FamiliesManifest) -> None:
    """Enter links and families of labels; does nothing if they are in."""
    with the_catalog() as catalog:
        ingest_families(catalog, open_store(root), manifest)


def catalogue_night(root: str, manifest: NightlyManifest) -> None:
    """Enter the event of a night; does nothing if it is in."""
    event = record_night(open_store(root), manifest)
    with the_catalog() as catalog, catalog.write() as connection:
        write_event(connection, event)


def catalogue_release(manifest: ReleaseManifest) -> None:
    """Enter a release; does nothing if it is in."""
    with the_catalog() as catalog:
        ingest_release(catalog, manifest)
