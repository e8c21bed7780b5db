"""Writes packed sequences, split after split, as Parquet files."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq

from thresher.contracts import paths, schemas
from thresher.contracts.manifests import SPLITS, SequenceFile, SplitName, SplitRange
from thresher.corpus.packing import PackedSequence
from thresher.corpus.tokenised import RoleNames
from thresher.storage import ObjectStore
from thresher.storage.artifacts import put_file

SEQUENCES_PER_FILE = 4096

SplitSequence = tuple[SplitName, PackedSequence]


@dataclass
class WrittenSequences:
    """What the manifest says of them."""

    files: list[SequenceFile] = field(default_factory=list)
    num_sequences: dict[SplitName, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    num_documents: int = 0
    roles: set[str] = field(default_factory=set)
    _last_document: str | None = None

    def splits(self) -> list[SplitRange]:
        ranges, start = [], 0
        for split, count in self.num_sequences.items():
            ranges.append(SplitRange(split=split, start=start, stop=start + count))
            start += count
        return ranges

    def count(self, split: SplitName, sequence: PackedSequence, roles: RoleNames) -> None:
        self.num_sequences[split] += 1
        self.roles |= {roles.names[role_id] for role_id, _, _ in sequence.roles}
        for doc_id, _, _ in sequence.segments:
            self.num_documents += doc_id != self._last_document
            self._last_document = doc_id


def write_sequences(
    store: ObjectStore, artifact: str, sequences: Iterable[SplitSequence], roles: RoleNames
) -> WrittenSequences:
    """Write sequences in the order of SPLITS; holds one file of them in memory."""
    written, rest, first = WrittenSequences(), iter(sequences), 0
    while part := list(islice(rest, SEQUENCES_PER_FILE)):
        for split, sequence in part:
            written.count(split, sequence, roles)
        buffer = io.BytesIO()
        pq.write_table(_table(first, part, roles), buffer, compression="zstd")
        entry = put_file(store, paths.sequences_file(artifact, len(written.files)), buffer.getvalue())
        written.files.append(
            SequenceFile(**entry.model_dump(), first_sequence=first, num_sequences=len(part))
        )
        first += len(part)
    return written


def _table(first: int, part: list[SplitSequence], roles: RoleNames) -> pa.Table:
    columns = {
        "sequence": range(first, first + len(part)),
        "split": [split for split, _ in part],
        "token_ids": [sequence.token_ids for _, sequence in part],
        "segments": [list(_segments(sequence)) for _, sequence in part],
        "roles": [list(_roles(sequence, roles)) for _, sequence in part],
    }
    arrays = [pa.array(values, schemas.SEQUENCES.field(name).type) for name, values in columns.items()]
    return pa.table(arrays, schema=schemas.SEQUENCES)


def _segments(sequence: PackedSequence) -> Iterator[dict[str, object]]:
    for doc_id, start, length in sequence.segments:
        yield {"doc_id": doc_id, "start": start, "length": length}


def _roles(sequence: PackedSequence, roles: RoleNames) -> Iterator[dict[str, object]]:
    for role_id, start, length in sequence.roles:
        yield {"role": roles.names[role_id], "start": start, "length": length}
