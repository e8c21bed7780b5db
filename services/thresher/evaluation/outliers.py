"""The rows of largest norm of a harvest and whose they are: where attention sinks show."""

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from thresher.contracts.manifests import FileEntry, HarvestManifest, OutlierRow, Record, ShardCommit
from thresher.storage import ObjectStore
from thresher.storage.parquet import read_parquet

NUM_SHOWN = 16


class AddressedOutlier(Record):
    sequence: int
    position: int
    norm: float
    token_id: int
    """-1 where rows have no tokens."""
    token: str | None
    """As the tokenizer writes it, if one was given."""
    doc_id: str


def largest_rows(
    store: ObjectStore,
    manifest: HarvestManifest,
    site: str,
    token_string: Callable[[int], str] | None,
    count: int = NUM_SHOWN,
) -> list[AddressedOutlier]:
    """The rows of largest norm over all shards, largest first. Reads the addresses of their shards alone."""
    rows = [(row, shard) for shard in manifest.shards for row in shard.sites[site].outliers]
    rows.sort(key=lambda item: (-item[0].norm, item[0].sequence, item[0].position))
    tables: dict[int, pa.Table] = {}
    return [_addressed(store, row, shard, tables, token_string) for row, shard in rows[:count]]


def _addressed(
    store: ObjectStore,
    row: OutlierRow,
    shard: ShardCommit,
    tables: dict[int, pa.Table],
    token_string: Callable[[int], str] | None,
) -> AddressedOutlier:
    if shard.index not in tables:
        tables[shard.index] = _read_addresses(store, shard.rows)
    table = tables[shard.index]
    here = pc.and_(pc.equal(table["sequence"], row.sequence), pc.equal(table["position"], row.position))
    [found] = table.filter(here).to_pylist()
    return AddressedOutlier(
        sequence=row.sequence,
        position=row.position,
        norm=row.norm,
        token_id=found["token_id"],
        token=token_string(found["token_id"]) if token_string and found["token_id"] >= 0 else None,
        doc_id=found["doc_id"],
    )


def _read_addresses(store: ObjectStore, entry: FileEntry) -> pa.Table:
    columns = ["doc_id", "sequence", "position", "token_id"]
    return read_parquet(pa.BufferReader(store.get(entry.key)), columns)
