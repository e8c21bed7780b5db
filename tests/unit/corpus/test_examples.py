"""The example specs build corpora, once their paths are those of files that exist; the docs show the same ones."""

import gzip
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from thresher.corpus.build import build_corpus
from thresher.corpus.spec import CorpusSpec

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "jobs/configs/corpus").glob("*.yaml"))
DOCS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/corpus.md").read_text(), re.DOTALL)
TEMPLATE = "{% for m in messages %}<s> {{ m.role }} {{ m.content }} {% endfor %}"


def _rows(name: str) -> list[dict[str, object]]:
    texts = [" ".join(f"w{(3 * i + j) % 100}" for j in range(10 + i % 9)) for i in range(60)]
    return [
        {
            "text": f"{name} {text}",
            "content": f"{name} {text}",
            "id": f"{name}{i}",
            "url": f"{name}{i}",
            "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "w1"}],
            "conversations": [{"from": "human", "value": f"{name} {text}"}, {"from": "gpt", "value": "w1"}],
        }
        for i, text in enumerate(texts)
    ]


def _jsonl(name: str) -> bytes:
    return "\n".join(json.dumps(row) for row in _rows(name)).encode()


def _write_sources(folder: Path) -> None:
    saved = ("data/tinystories/train", "data/ultrachat/train")
    for name in (*saved, "data/books", "data/web/a", "data/wikitext/wikitext-103-raw-v1", "bucket/code"):
        (folder / name).mkdir(parents=True)
    (folder / "bucket/fineweb/sample").mkdir(parents=True)
    for name in saved:
        table = pa.Table.from_pylist(_rows(name))
        with pa.ipc.new_stream(str(folder / name / "data.arrow"), table.schema) as writer:
            writer.write_table(table)
        (folder / name / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
        (folder / name).with_name("dataset_dict.json").write_text('{"splits": ["train"]}')
    for index, row in enumerate(_rows("books")):
        (folder / f"data/books/{index}.txt").write_text(str(row["text"]))
    (folder / "data/web/a/0.jsonl.gz").write_bytes(gzip.compress(_jsonl("web")))
    (folder / "data/sharegpt.jsonl").write_bytes(_jsonl("sharegpt"))
    with pa.CompressedOutputStream(str(folder / "bucket/code/part-0.jsonl.zst"), "zstd") as stream:
        stream.write(_jsonl("code"))
    shard = "data/wikitext/wikitext-103-raw-v1/train-00000-of-00001.parquet"
    for name in (shard, "bucket/fineweb/sample/0.parquet"):
        pq.write_table(pa.Table.from_pylist(_rows(name)), folder / name)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_builds_a_corpus(tmp_path, word_tokenizer, file):
    _write_sources(tmp_path)
    (word_tokenizer / "chat_template.jinja").write_text(TEMPLATE)
    text = (
        file.read_text().replace("/data/", f"{tmp_path}/data/").replace("s3://bucket/", f"{tmp_path}/bucket/")
    )
    here = {
        "root": f"file://{tmp_path}/root",
        "tokenizer": str(word_tokenizer),
        "max_tokens": 800,
        "sequence_length": 16,
        "bos_token": None,
        "separator_token": None,
    }
    manifest = build_corpus(CorpusSpec.parse(yaml.safe_load(text) | here))
    assert manifest.num_sequences > 20
    assert manifest.roles == (["assistant", "template", "user"] if file.stem == "chat" else [])


def test_the_docs_show_these_examples():
    shown = [yaml.safe_load(block) for block in DOCS]
    sources = [item["sources"] for item in shown if "sources" in item]
    assert sorted(map(str, sources)) == sorted(
        str(yaml.safe_load(file.read_text())["sources"]) for file in EXAMPLES
    )
    [chat] = [item for item in shown if "chat" in item]
    base = yaml.safe_load((ROOT / "jobs/configs/corpus/chat.yaml").read_text())
    CorpusSpec.parse(base | chat | {"root": "file:///r", "tokenizer": "/m", "max_tokens": 800})
