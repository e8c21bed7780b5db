"""From stored artifacts into the catalog: each file once, in one transaction, however often it is asked."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, Table, func, select, update
from sqlalchemy.exc import IntegrityError as KeyConflictError

from thresher.catalog.current import move_pointers
from thresher.catalog.database import Catalog
from thresher.catalog.insert import insert_same
from thresher.catalog.stored_tables import read_stored_table
from thresher.catalog.tables import (
    dictionaries,
    families,
    family_sets,
    feature_sets,
    features,
    ingested_files,
    label_links,
    label_runs,
    labels,
    releases,
    scores,
)
from thresher.contracts import paths, schemas
from thresher.contracts.errors import IntegrityError
from thresher.contracts.manifests import (
    DictionaryManifest,
    DictionaryRef,
    FamiliesManifest,
    FeaturesManifest,
    FileEntry,
    LabelManifest,
    ReleaseManifest,
)
from thresher.storage import ObjectStore
from thresher.storage.artifacts import read_record

BATCH_ROWS = 5_000
HISTOGRAM_EDGES = b"histogram_edges"
"""Key in the metadata of stats.parquet."""

Transaction = Callable[[], AbstractContextManager[Connection]]
"""Opens the transaction that a file is written in."""


def ingest_dictionary(catalog: Catalog, manifest: DictionaryManifest) -> None:
    """Put a dictionary into the catalog; if it is there already, it stays as it is."""
    write_dictionary(catalog.write, manifest)


def ingest_features(catalog: Catalog, store: ObjectStore, manifest: FeaturesManifest) -> None:
    """Put a features artifact and its dictionary into the catalog; what is there already stays as it is.

    Raises:
        IntegrityError: a file is corrupt, or the features are of other weights than the dictionary has now.
        MissingArtifactError: the dictionary is not in the store.
    """
    write_features(catalog.write, store, manifest)


def ingest_labels(catalog: Catalog, store: ObjectStore, manifest: LabelManifest) -> None:
    """Put a label run into the catalog, and with it the features it labels; then move the current labels.

    The run is seen by nobody before its last file is in. An interrupted ingest is finished by calling again.

    Raises:
        IntegrityError: a file is corrupt, or a row is not of this run.
        MissingArtifactError: the features or the dictionary are not in the store.
    """
    write_labels(catalog.write, store, manifest)


def ingest_families(catalog: Catalog, store: ObjectStore, manifest: FamiliesManifest) -> None:
    """Put families and links into the catalog, and with them the features they are of.

    Raises:
        IntegrityError: a file is corrupt.
        MissingArtifactError: the features or the dictionary are not in the store.
    """
    write_families(catalog.write, store, manifest)


def ingest_release(catalog: Catalog, manifest: ReleaseManifest) -> None:
    """Put a release into the catalog."""
    write_release(catalog.write, manifest)


def write_dictionary(transaction: Transaction, manifest: DictionaryManifest) -> None:
    """As ingest_dictionary, over any kind of transaction."""
    with transaction() as connection:
        insert_same(connection, dictionaries, _dictionary_row(manifest))


def write_features(transaction: Transaction, store: ObjectStore, manifest: FeaturesManifest) -> None:
    """As ingest_features, over any kind of transaction."""
    dictionary = _read_dictionary(store, manifest.dictionary)
    if _is_in(transaction, manifest.stats):
        return
    table = read_stored_table(store, manifest.stats, schemas.FEATURE_STATS)
    with transaction() as connection:
        insert_same(connection, dictionaries, _dictionary_row(dictionary))
        insert_same(connection, feature_sets, _feature_set_row(manifest, table))
        _insert_file(connection, features, manifest.stats, table, {"features_id": manifest.features_id})


def write_labels(transaction: Transaction, store: ObjectStore, manifest: LabelManifest) -> None:
    """As ingest_labels, over any kind of transaction."""
    _write_features_of(transaction, store, manifest.dictionary, manifest.corpus_id)
    with transaction() as connection:
        insert_same(connection, label_runs, _label_run_row(manifest))
        if _is_complete(connection, manifest.run_id):
            return
    for entry in manifest.labels:
        _write_run_file(transaction, store, entry, labels, schemas.LABELS, manifest.run_id)
    for entry in manifest.scores:
        _write_run_file(transaction, store, entry, scores, schemas.SCORES, manifest.run_id)
    with transaction() as connection:
        _complete(connection, manifest)


def write_families(transaction: Transaction, store: ObjectStore, manifest: FamiliesManifest) -> None:
    """As ingest_families, over any kind of transaction."""
    _write_features_of(transaction, store, manifest.dictionary, manifest.corpus_id)
    tables = [
        (families, manifest.families, read_stored_table(store, manifest.families, schemas.FAMILIES)),
        (label_links, manifest.links, read_stored_table(store, manifest.links, schemas.LABEL_LINKS)),
    ]
    row = manifest.model_dump(mode="json", include=set(family_sets.c.keys()))
    with transaction() as connection:
        insert_same(connection, family_sets, row | {"dictionary": str(manifest.dictionary)})
        for target, entry, table in tables:
            _insert_file(connection, target, entry, table, {"families_id": manifest.families_id})


def write_release(transaction: Transaction, manifest: ReleaseManifest) -> None:
    """As ingest_release, over any kind of transaction."""
    row = manifest.model_dump(mode="json", exclude={"files"})
    num_bytes = sum(entry.size for entry in manifest.files)
    with transaction() as connection:
        insert_same(connection, releases, row | {"num_files": len(manifest.files), "num_bytes": num_bytes})


def _write_features_of(
    transaction: Transaction, store: ObjectStore, ref: DictionaryRef, corpus_id: str
) -> None:
    upstream = paths.manifest(paths.features(ref.name, ref.version, corpus_id))
    write_features(transaction, store, read_record(store, upstream, FeaturesManifest))


def _read_dictionary(store: ObjectStore, ref: DictionaryRef) -> DictionaryManifest:
    key = paths.manifest(paths.dictionary(ref.name, ref.version))
    manifest = read_record(store, key, DictionaryManifest)
    if manifest.ref() != ref:
        raise IntegrityError(
            f"{store.url}/{key} holds other weights than those its features or labels were made with: "
            "publish the new weights as another version and make the features again."
        )
    return manifest


def _write_run_file(
    transaction: Transaction,
    store: ObjectStore,
    entry: FileEntry,
    target: Table,
    schema: pa.Schema,
    run_id: str,
) -> None:
    if _is_in(transaction, entry):
        return
    table = read_stored_table(store, entry, schema)
    if set(table["run_id"].unique().to_pylist()) - {run_id}:
        raise IntegrityError(f"{store.url}/{entry.key} holds rows of another run than {run_id}.")
    with transaction() as connection:
        _insert_file(connection, target, entry, table, {})


def _is_in(transaction: Transaction, entry: FileEntry) -> bool:
    with transaction() as connection:
        known = connection.scalar(select(ingested_files.c.sha256).where(ingested_files.c.key == entry.key))
    return known == entry.sha256


def _is_complete(connection: Connection, run_id: str) -> bool:
    return bool(connection.scalar(select(label_runs.c.complete).where(label_runs.c.run_id == run_id)))


def _complete(connection: Connection, manifest: LabelManifest) -> None:
    run_id = manifest.run_id
    if _is_complete(connection, run_id):
        return
    newest = select(func.max(labels.c.created_at)).where(labels.c.run_id == run_id).scalar_subquery()
    connection.execute(
        update(label_runs).where(label_runs.c.run_id == run_id).values(complete=True, newest_label_at=newest)
    )
    move_pointers(connection, str(manifest.dictionary), run_id)


def _insert_file(
    connection: Connection, target: Table, entry: FileEntry, table: pa.Table, constants: dict[str, Any]
) -> None:
    """Insert a file's rows, unless another process did since we looked."""
    if not insert_same(connection, ingested_files, {"key": entry.key, "sha256": entry.sha256}):
        return
    try:
        for batch in table.to_batches(max_chunksize=BATCH_ROWS):
            connection.execute(target.insert(), [row | constants for row in batch.to_pylist()])
    except KeyConflictError as error:
        raise IntegrityError(
            f"{entry.key}: a row is there twice, or names a label or feature that is not: {error.orig}"
        ) from error


def _dictionary_row(manifest: DictionaryManifest) -> dict[str, Any]:
    row = manifest.model_dump(mode="json", include=set(dictionaries.c.keys()))
    return row | {
        "dictionary": str(manifest.ref()),
        "site": manifest.site,
        "harvest_id": next(iter(manifest.harvest_ids), ""),
        "weights_sha256": manifest.weights().sha256,
        "metrics": row["metrics"] or {},
    }


def _feature_set_row(manifest: FeaturesManifest, table: pa.Table) -> dict[str, Any]:
    row = manifest.model_dump(mode="json", include=set(feature_sets.c.keys()))
    edges = json.loads(table.schema.metadata[HISTOGRAM_EDGES])
    return row | {"dictionary": str(manifest.dictionary), "histogram_edges": edges}


def _label_run_row(manifest: LabelManifest) -> dict[str, Any]:
    row = manifest.model_dump(mode="json", include=set(label_runs.c.keys()))
    return row | {"dictionary": str(manifest.dictionary)}
