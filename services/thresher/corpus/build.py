"""Build a corpus: read, deal, tokenise, pack, write."""

import io
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

import thresher
from thresher.contracts import paths, schemas
from thresher.contracts.errors import SpecError
from thresher.contracts.ids import content_id, sha256_hex
from thresher.contracts.manifests import SPLITS, CorpusManifest, SequenceFile, SplitName, SplitRange
from thresher.corpus.dealing import DealtDocument, deal
from thresher.corpus.packing import PackedSequence, Packer
from thresher.corpus.sources import read_documents
from thresher.corpus.spec import CorpusSpec
from thresher.runtime.model_identity import tokenizer_sha256
from thresher.runtime.progress import progress
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import find_record, publish_manifest, put_file, record_bytes

SEQUENCES_PER_FILE = 4096
DOCUMENTS_PER_BATCH = 256


def build_corpus(spec: CorpusSpec) -> CorpusManifest:
    """Make a corpus, or find it made.

    Sources are read whole to know what they hold (their content is part of the id), so they must fit in memory.

    Raises:
        SpecError: a source or token is not there, or the text does not fill one sequence of a split.
    """
    store = open_store(spec.root)
    tokenizer_hash = tokenizer_sha256("tokenizer", spec.tokenizer)
    tokenizer = Tokenizer.from_file(str(Path(spec.tokenizer) / "tokenizer.json"))
    bos_token_id = _token_id(tokenizer, "bos_token", spec.bos_token)
    separator_token_id = _token_id(tokenizer, "separator_token", spec.separator_token)
    dealt = deal([read_documents(source) for source in spec.sources], spec.splits, spec.seed)
    corpus_id = content_id(
        "corpus",
        {
            "spec": spec.identity(),
            "tokenizer": tokenizer_hash,
            "documents": _documents_sha256(dealt),
            "code_version": thresher.__version__,
        },
    )
    artifact = paths.corpus(corpus_id)
    found = find_record(store, paths.manifest(artifact), CorpusManifest)
    if found is not None:
        return found
    packed, num_documents = _pack(spec, tokenizer, dealt, bos_token_id, separator_token_id)
    _check_filled(spec, packed)
    store.put(paths.spec(artifact), record_bytes(spec))
    num_sequences = sum(len(sequences) for sequences in packed.values())
    manifest = CorpusManifest(
        corpus_id=corpus_id,
        spec=spec.identity(),
        tokenizer_sha256=tokenizer_hash,
        sequence_length=spec.sequence_length,
        bos_token_id=bos_token_id,
        separator_token_id=separator_token_id,
        special_token_ids=_special_token_ids(tokenizer),
        roles=[],
        num_documents=num_documents,
        num_sequences=num_sequences,
        num_tokens=num_sequences * spec.sequence_length,
        splits=_ranges(packed),
        files=_write(store, artifact, packed),
    )
    return publish_manifest(store, artifact, manifest)


def _token_id(tokenizer: Tokenizer, field: str, token: str | None) -> int | None:
    if token is None:
        return None
    token_id = tokenizer.token_to_id(token)
    if token_id is None:
        known = sorted(str(item.content) for item in tokenizer.get_added_tokens_decoder().values())
        raise SpecError(field, token, allowed=known, mend="Name one token of the tokenizer.")
    return int(token_id)


def _special_token_ids(tokenizer: Tokenizer) -> list[int]:
    added = tokenizer.get_added_tokens_decoder()
    return sorted(token_id for token_id, token in added.items() if token.special)


def _documents_sha256(dealt: list[DealtDocument]) -> str:
    # The order is a hash of each text, so these pairs stand for the whole content.
    return sha256_hex(
        json.dumps([[item.document.doc_id, item.source, item.order.hex()] for item in dealt]).encode()
    )


def _pack(
    spec: CorpusSpec,
    tokenizer: Tokenizer,
    dealt: list[DealtDocument],
    bos_token_id: int | None,
    separator_token_id: int | None,
) -> tuple[dict[SplitName, list[PackedSequence]], int]:
    quotas = _quotas(spec)
    packers = {split: Packer(spec.sequence_length, bos_token_id, separator_token_id) for split in SPLITS}
    packed: dict[SplitName, list[PackedSequence]] = {split: [] for split in SPLITS}
    limits = {
        split: round(spec.max_tokens * getattr(spec.splits, split)) // spec.sequence_length
        for split in SPLITS
    }
    used: set[str] = set()
    with progress("corpus", sum(limits.values()) * spec.sequence_length, "tokens") as meter:
        for item, token_ids in _tokenised(tokenizer, _within(dealt, quotas), spec.max_document_tokens):
            key = (item.source, item.split)
            if quotas[key] <= 0:
                continue
            token_ids = token_ids[: quotas[key]]
            quotas[key] -= len(token_ids) + (separator_token_id is not None)
            used.add(item.document.doc_id)
            room = limits[item.split] - len(packed[item.split])
            new = packers[item.split].add(item.document.doc_id, token_ids)[:room]
            packed[item.split] += new
            meter.advance(len(new) * spec.sequence_length)
    return packed, len(used)


def _quotas(spec: CorpusSpec) -> dict[tuple[int, SplitName], int]:
    """Tokens still wanted of each source for each split, one sequence over so that rounding leaves none short."""
    total = sum(source.share for source in spec.sources)
    quotas: dict[tuple[int, SplitName], int] = {}
    for index, source in enumerate(spec.sources):
        for split in SPLITS:
            wanted = round(spec.max_tokens * source.share / total * getattr(spec.splits, split))
            quotas[index, split] = wanted + spec.sequence_length if wanted else 0
    return quotas


def _within(dealt: list[DealtDocument], quotas: dict[tuple[int, SplitName], int]) -> Iterator[DealtDocument]:
    """Documents whose source and split still want tokens when they are reached."""
    return (item for item in dealt if quotas[item.source, item.split] > 0)


def _tokenised(
    tokenizer: Tokenizer, dealt: Iterable[DealtDocument], max_document_tokens: int
) -> Iterator[tuple[DealtDocument, list[int]]]:
    documents = iter(dealt)
    while batch := list(islice(documents, DOCUMENTS_PER_BATCH)):
        encodings = tokenizer.encode_batch_fast(
            [item.document.text for item in batch], add_special_tokens=False
        )
        for item, encoding in zip(batch, encodings, strict=True):
            yield item, encoding.ids[:max_document_tokens]


def _check_filled(spec: CorpusSpec, packed: dict[SplitName, list[PackedSequence]]) -> None:
    for split, sequences in packed.items():
        if getattr(spec.splits, split) > 0 and not sequences:
            raise SpecError(
                "sources",
                f"{len(spec.sources)} sources",
                mend=f"Their text fills no sequence of {spec.sequence_length} tokens for split {split}: add text, "
                "raise max_tokens or shorten sequence_length.",
            )


def _ranges(packed: dict[SplitName, list[PackedSequence]]) -> list[SplitRange]:
    ranges, start = [], 0
    for split in SPLITS:
        ranges.append(SplitRange(split=split, start=start, stop=start + len(packed[split])))
        start += len(packed[split])
    return ranges


def _write(
    store: ObjectStore, artifact: str, packed: dict[SplitName, list[PackedSequence]]
) -> list[SequenceFile]:
    rows = [(split, sequence) for split in SPLITS for sequence in packed[split]]
    files: list[SequenceFile] = []
    for first in range(0, len(rows), SEQUENCES_PER_FILE):
        part = rows[first : first + SEQUENCES_PER_FILE]
        buffer = io.BytesIO()
        pq.write_table(_table(first, part), buffer, compression="zstd")
        entry = put_file(store, paths.sequences_file(artifact, len(files)), buffer.getvalue())
        files.append(SequenceFile(**entry.model_dump(), first_sequence=first, num_sequences=len(part)))
    return files


def _table(first: int, part: list[tuple[SplitName, PackedSequence]]) -> pa.Table:
    return pa.table(
        {
            "sequence": pa.array(range(first, first + len(part)), pa.int32()),
            "split": [split for split, _ in part],
            "token_ids": pa.array([sequence.token_ids for _, sequence in part], schemas.TOKENS),
            "segments": pa.array(
                [
                    [
                        {"doc_id": doc_id, "start": start, "length": length}
                        for doc_id, start, length in sequence.segments
                    ]
                    for _, sequence in part
                ],
                pa.list_(schemas.SEGMENT),
            ),
            "roles": pa.array([[] for _ in part], pa.list_(schemas.ROLE_SPAN)),
        },
        schema=schemas.SEQUENCES,
    )
