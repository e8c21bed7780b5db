"""Parquet artifacts, read for the catalog: every byte checked before a row is believed."""

import pyarrow as pa

from thresher.contracts.errors import IntegrityError
from thresher.contracts.ids import sha256_hex
from thresher.contracts.manifests import FileEntry
from thresher.storage import ObjectMissingError, ObjectStore
from thresher.storage.parquet import read_parquet


def read_stored_table(store: ObjectStore, entry: FileEntry, schema: pa.Schema) -> pa.Table:
    """Read a file that a manifest names, with the columns of `schema`; the file's own metadata is kept.

    Raises:
        IntegrityError: it is missing, its bytes are not the manifest's, or its columns are not the schema's.
    """
    where = f"{store.url}/{entry.key}"
    try:
        data = store.get(entry.key)
    except ObjectMissingError as error:
        raise IntegrityError(f"{where} is missing; its manifest names it.") from error
    if len(data) != entry.size or sha256_hex(data) != entry.sha256:
        raise IntegrityError(f"{where} is corrupt: its bytes are not those of its manifest.")
    table = read_parquet(pa.BufferReader(data))
    try:
        return table.select(schema.names).cast(schema.with_metadata(table.schema.metadata))
    except (KeyError, ValueError) as error:
        raise IntegrityError(
            f"{where} has other columns than this version of thresher reads: {error}"
        ) from error
