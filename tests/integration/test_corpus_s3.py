"""Sources in a real bucket give the corpus that the same files give on disk."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thresher.corpus.build import build_corpus
from thresher.corpus.spec import CorpusSpec
from thresher.storage import open_store

pytestmark = pytest.mark.real

ROWS = [
    {"text": " ".join(f"w{(i + j) % 100}" for j in range(15 + i % 20)), "id": f"doc{i}"} for i in range(300)
]


def _write(folder: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    for name in ("lines/2026", "data", "saved", "texts"):
        (folder / name).mkdir(parents=True)
    for part in range(2):
        lines = "\n".join(json.dumps(row) for row in ROWS[part::2])
        (folder / f"lines/2026/{part}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
        pq.write_table(table.slice(part * 150, 150), folder / f"data/train-{part:05d}-of-00002.parquet")
    with pa.ipc.new_stream(str(folder / "saved/data.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    (folder / "saved/state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    for row in ROWS:
        (folder / "texts" / row["id"]).write_text(row["text"])


def _sources(where: str) -> list[dict[str, str]]:
    return [
        {"kind": "jsonl", "path": f"{where}/lines/**/*.gz", "id_field": "id"},
        {"kind": "jsonl", "path": f"{where}/lines", "id_field": "id"},
        {"kind": "parquet", "path": f"{where}/data", "id_field": "id"},
        {"kind": "huggingface", "path": where, "split": "train", "id_field": "id"},
        {"kind": "huggingface", "path": f"{where}/saved", "id_field": "id"},
        {"kind": "text_files", "folder": f"{where}/texts", "pattern": "doc*"},
    ]


def test_sources_in_a_bucket_give_the_corpus_of_sources_on_disk(s3_root, tmp_path, word_tokenizer):
    _write(tmp_path / "sources")
    store = open_store(f"{s3_root}/sources")
    for file in (tmp_path / "sources").rglob("*"):
        if file.is_file():
            store.put(file.relative_to(tmp_path / "sources").as_posix(), file.read_bytes())

    def build(source: dict[str, str], root: str) -> str:
        spec = {
            "root": root,
            "sources": [source],
            "tokenizer": str(word_tokenizer),
            "sequence_length": 16,
            "max_tokens": 3200,
        }
        return build_corpus(CorpusSpec.parse(spec)).corpus_id

    wanted = build(_sources(str(tmp_path / "sources"))[0], f"file://{tmp_path}/root")
    found = {
        json.dumps(source): build(source, f"{s3_root}/root-{index}")
        for index, source in enumerate(_sources(f"{s3_root}/sources"))
    }
    assert set(found.values()) == {wanted}, found
