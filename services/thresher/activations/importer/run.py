"""Import: check the sources, deal their sequences, write what is missing, and the manifest from the commit records."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

import thresher
from thresher.activations.importer.addresses import Addresses
from thresher.activations.importer.dealing import Dealt, deal
from thresher.activations.importer.items import IndexArray, Items
from thresher.activations.importer.shard import ImportShard, write_shard
from thresher.activations.importer.site_rows import SiteRows, arrange
from thresher.activations.importer.spec import ImportSpec
from thresher.activations.row_encoding import Centre, DenseEncoding
from thresher.contracts import paths
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import EngineProvenance, HarvestManifest, ShardCommit, SiteSummary
from thresher.contracts.row_selection import RowSelection
from thresher.runtime.progress import progress
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import check_sizes, find_record, publish_manifest, record_bytes

CENTRE_ROWS = 16_384
"""Rows that a centre is measured on, at most."""


@dataclass(frozen=True)
class ImportInputs:
    """Every source of an import, opened and checked against the others."""

    spec: ImportSpec
    store: ObjectStore
    items: Mapping[str, Items]
    """By the dotted name of the source's field."""
    sites: Mapping[str, SiteRows]
    addresses: Addresses
    sequence_length: int

    @property
    def num_sequences(self) -> int:
        return next(iter(self.sites.values())).num_sequences

    @property
    def provenance(self) -> EngineProvenance:
        return EngineProvenance(
            engine="import",
            engine_version=thresher.__version__,
            model_runner="none",
            dtype=", ".join(sorted({rows.dtype_name for rows in self.sites.values()})),
            torch_version=torch.__version__,
        )


def resolve_sources(spec: ImportSpec) -> ImportInputs:
    """Read the header of every file; no row yet.

    Raises:
        SpecError: a source is not there, cannot be read, or does not fit the others; names it.
    """
    site_items = {site: Items(f"sites.{site}", source, plain=False) for site, source in spec.sites.items()}
    sites = arrange(site_items, spec.sequence_length)
    first = next(iter(sites.values()))
    addresses = Addresses(spec.address, first.num_sequences, first.sequence_length)
    items = {f"sites.{site}": item for site, item in site_items.items()} | addresses.items
    return ImportInputs(spec, open_store(spec.root), items, sites, addresses, first.sequence_length)


def import_activations(spec: ImportSpec) -> HarvestManifest:
    """Make an imported harvest whole, or find it made: the same bytes and spec have the same id.

    Sources are read once to hash them, and once more for each split. Memory holds nine bytes a sequence, a record
    batch of each site and the addresses of one shard.

    Raises:
        SpecError: a source does not do, or a value in it; names the file and, where it has one, the row.
    """
    inputs = resolve_sources(spec)
    files = hash_files(inputs.items)
    import_id = content_id(
        "import",
        {
            "spec": spec.identity(),
            "files": {field: [file["sha256"] for file in own] for field, own in files.items()},
            "code_version": thresher.__version__,
        },
    )
    artifact = paths.harvest(import_id)
    found = find_record(inputs.store, paths.manifest(artifact), HarvestManifest)
    if found is not None:
        return found
    dealt = deal(inputs.addresses, inputs.num_sequences, spec.splits, spec.seed)
    inputs.store.put(paths.spec(artifact), record_bytes(spec))
    commits = _write_missing(inputs, plan_shards(inputs, dealt, artifact))
    for field, items in inputs.items.items():
        for item in items.objects:
            item.check_unchanged(field)
    return publish_manifest(inputs.store, artifact, _manifest(inputs, import_id, dealt, files, commits))


def hash_files(items: Mapping[str, Items]) -> dict[str, list[dict[str, Any]]]:
    """Name, size and sha256 of every file, by field: one read of all of them."""
    described: dict[str, list[dict[str, Any]]] = {}
    total = sum(file.size for own in items.values() for file in own.objects)
    with progress("hash", total, "bytes") as meter:
        for field, own in items.items():
            described[field] = []
            for file in own.objects:
                name = file.key.rpartition("/")[2]
                described[field].append({"name": name, "size": file.size, "sha256": file.sha256()})
                meter.advance(file.size)
    return described


def plan_shards(inputs: ImportInputs, dealt: Dealt, artifact: str) -> list[ImportShard]:
    """Cut each split into shards; a shard never crosses two splits."""
    step = max(1, inputs.spec.rows_per_shard // inputs.sequence_length)
    shards: list[ImportShard] = []
    for split in dealt.splits:
        for first in range(split.start, split.stop, step):
            source = dealt.order_S[first : min(first + step, split.stop)]
            shards.append(ImportShard(artifact, len(shards), first, source))
    return shards


def _write_missing(inputs: ImportInputs, shards: list[ImportShard]) -> list[ShardCommit]:
    """The commit records of all shards, in order, those that were there before included."""
    encodings = _encodings(inputs, shards[0].source_sequences)
    records: list[ShardCommit] = []
    length = inputs.sequence_length
    with progress("import", inputs.num_sequences * length, "rows") as meter:
        for shard in shards:
            key = paths.shard_commit(shard.artifact, shard.index)
            record = find_record(inputs.store, key, ShardCommit)
            if record is None:
                record = write_shard(
                    inputs.store, shard, inputs.sites, encodings, inputs.addresses, length, inputs.provenance
                )
            check_sizes(inputs.store, [*record.sites.values(), record.rows])
            records.append(record)
            meter.advance(record.num_rows)
    return records


def _encodings(inputs: ImportInputs, first_K: IndexArray) -> dict[str, DenseEncoding]:
    sample_K = first_K[: max(1, CENTRE_ROWS // inputs.sequence_length)]
    return {
        site: DenseEncoding(
            inputs.spec.encoding,
            rows.width,
            Centre.of(rows.take(sample_K)) if inputs.spec.encoding == "int8" and inputs.spec.centre else None,
        )
        for site, rows in inputs.sites.items()
    }


def _manifest(
    inputs: ImportInputs,
    import_id: str,
    dealt: Dealt,
    files: Mapping[str, list[dict[str, Any]]],
    commits: list[ShardCommit],
) -> HarvestManifest:
    provenance = [commit.provenance for commit in commits]
    num_rows = sum(commit.num_rows for commit in commits)
    assert num_rows == inputs.num_sequences * inputs.sequence_length, "every row lies in one shard"
    return HarvestManifest(
        harvest_id=import_id,
        spec={**inputs.spec.identity(), "files": dict(files)},
        model=None,
        corpus_id=None,
        sequence_length=inputs.sequence_length,
        splits=dealt.splits,
        selection=RowSelection(),
        encoding=inputs.spec.encoding,
        dictionary=None,
        sites={
            site: SiteSummary(
                width=rows.width,
                relative_error=max(commit.sites[site].relative_error for commit in commits),
                max_row_error=max(commit.sites[site].max_row_error for commit in commits),
            )
            for site, rows in inputs.sites.items()
        },
        num_rows=num_rows,
        shards=commits,
        provenance=[item for index, item in enumerate(provenance) if item not in provenance[:index]],
        code_version=thresher.__version__,
    )
