import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thresher.activations.sequences import open_sequences
from thresher.contracts import paths, schemas
from thresher.contracts.errors import SpecError
from thresher.corpus.build import build_corpus
from thresher.corpus.spec import CorpusSpec
from thresher.storage import open_store


@pytest.fixture
def documents(tmp_path):
    file = tmp_path / "documents.jsonl"
    lines = [
        {"text": " ".join(f"w{(i + j) % 100}" for j in range(15 + i % 20)), "id": f"doc{i}"}
        for i in range(100)
    ]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return file


@pytest.fixture
def spec(tmp_path, word_tokenizer, documents):
    def make(**more):
        source = {"kind": "jsonl", "path": str(documents), "id_field": "id"}
        base = {
            "root": f"file://{tmp_path}/root",
            "sources": [source],
            "tokenizer": str(word_tokenizer),
            "sequence_length": 16,
            "max_tokens": 1600,
            "bos_token": "<s>",
        }
        return CorpusSpec.parse(base | more)

    return make


def test_splits_share_no_document_and_every_row_has_an_address(spec):
    manifest = build_corpus(spec())
    sequences = open_sequences(open_store(spec().root), manifest.corpus_id)
    documents = {}
    for item in manifest.splits:
        assert item.stop > item.start
        table = sequences.rows(item.start, item.stop)
        assert table.schema == schemas.ROWS
        assert table.num_rows == (item.stop - item.start) * 16
        documents[item.split] = set(table.column("doc_id").to_pylist())
    assert not documents["fit"] & documents["explain"]
    assert not documents["fit"] & documents["report"]
    assert not documents["explain"] & documents["report"]


def test_bos_stands_at_position_0_of_every_sequence(spec):
    manifest = build_corpus(spec())
    token_ids = open_sequences(open_store(spec().root), manifest.corpus_id).token_ids(
        0, manifest.num_sequences
    )
    assert set(token_ids[:, 0]) == {manifest.bos_token_id}
    assert manifest.bos_token_id not in token_ids[:, 1:]


def test_the_same_spec_is_found_and_not_built_again(spec):
    first = build_corpus(spec())
    store = open_store(spec().root)
    stamp = store.head(paths.manifest(paths.corpus(first.corpus_id))).etag
    assert build_corpus(spec()) == first
    assert store.head(paths.manifest(paths.corpus(first.corpus_id))).etag == stamp


@pytest.mark.parametrize("change", [{"seed": 1}, {"sequence_length": 8}, {"bos_token": None}])
def test_another_spec_has_another_id(spec, change):
    assert build_corpus(spec(**change)).corpus_id != build_corpus(spec()).corpus_id


def test_other_text_has_another_id(spec, documents):
    first = build_corpus(spec()).corpus_id
    documents.write_text(documents.read_text() + '\n{"text": "w1 w2 w3", "id": "new"}')
    assert build_corpus(spec()).corpus_id != first


def test_sources_of_every_kind_give_the_same_documents(spec, documents, tmp_path):
    lines = [json.loads(line) for line in documents.read_text().splitlines()]
    pq.write_table(pa.Table.from_pylist(lines), tmp_path / "documents.parquet")
    (tmp_path / "texts").mkdir()
    for line in lines:
        (tmp_path / "texts" / line["id"]).write_text(line["text"])
    parquet = {"kind": "parquet", "path": str(tmp_path / "documents.parquet"), "id_field": "id"}
    folder = {"kind": "text_files", "folder": str(tmp_path / "texts"), "pattern": "doc*"}
    wanted = build_corpus(spec()).files[0].sha256
    assert build_corpus(spec(sources=[parquet])).files[0].sha256 == wanted
    assert build_corpus(spec(sources=[folder])).files[0].sha256 == wanted


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tokenizer": "/nowhere"}, ["tokenizer", "/nowhere", "tokenizer.json"]),
        ({"bos_token": "<bos>"}, ["bos_token", "<bos>", "<s>"]),
        ({"sources": [{"kind": "jsonl", "path": "/nowhere.jsonl"}]}, ["sources.path", "/nowhere.jsonl"]),
        ({"sources": [{"kind": "text_files", "folder": "/nowhere"}]}, ["sources.folder", "/nowhere"]),
        ({"sequence_length": 512, "max_tokens": 10_000}, ["fills no sequence", "raise max_tokens"]),
    ],
)
def test_bad_input_names_the_field_and_the_mend_and_leaves_nothing(spec, change, words):
    with pytest.raises(SpecError) as caught:
        build_corpus(spec(**change))
    for word in words:
        assert word in str(caught.value)
    assert list(open_store(spec().root).list("")) == []


def test_an_empty_corpus_is_refused(spec, documents):
    documents.write_text('{"text": "   ", "id": "blank"}\n')
    with pytest.raises(SpecError, match="fills no sequence"):
        build_corpus(spec())


@pytest.mark.parametrize("line", ["not json", '{"body": "x"}', '{"text": 3}'])
def test_a_bad_line_is_counted_and_named(spec, documents, line):
    documents.write_text('{"text": "w1", "id": "a"}\n' + line)
    with pytest.raises(SpecError, match="Line 2"):
        build_corpus(spec())


def test_shares_that_do_not_sum_to_one_are_refused(spec):
    with pytest.raises(SpecError, match="sum to 1"):
        spec(splits={"fit": 0.5, "explain": 0.2, "report": 0.2})
