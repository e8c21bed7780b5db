import gzip
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thresher.activations.row_selection import RowSelector
from thresher.activations.sequences import open_sequences
from thresher.contracts import paths, schemas
from thresher.contracts.errors import SpecError
from thresher.contracts.ids import sha256_hex
from thresher.contracts.row_selection import RowSelection
from thresher.corpus import build, reading
from thresher.corpus.build import build_corpus
from thresher.corpus.reading import deal_documents
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
    wanted = build_corpus(spec())
    assert build_corpus(spec(sources=[parquet], root=f"file://{tmp_path}/other")).files == wanted.files
    assert build_corpus(spec(sources=[folder], root=f"file://{tmp_path}/third")).files == wanted.files


def test_the_id_does_not_hang_on_where_or_how_a_source_is_stored(spec, documents, tmp_path):
    lines = documents.read_text().splitlines()
    random.Random(0).shuffle(lines)
    (tmp_path / "moved").mkdir()
    for part in range(3):
        data = "\n".join(lines[part::3]).encode()
        (tmp_path / f"moved/{part}.jsonl.gz").write_bytes(gzip.compress(data))
    moved = {"kind": "jsonl", "path": f"{tmp_path}/moved/*.gz", "id_field": "id"}
    assert build_corpus(spec(sources=[moved])).corpus_id == build_corpus(spec()).corpus_id


def test_batches_and_passes_leave_no_trace(spec, tmp_path, monkeypatch):
    wanted = build_corpus(spec())
    monkeypatch.setattr(reading, "BATCH_DOCUMENTS", 3)
    monkeypatch.setattr(reading, "SUPPOSED_BYTES_PER_TOKEN", 0.1)
    assert build_corpus(spec(root=f"file://{tmp_path}/other")) == wanted


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("w3 ", "w4 "),
        lambda text: "\n".join(text.splitlines()[:50]),
        lambda text: "\n".join(reversed(text.splitlines())),
    ],
    ids=["other text", "less text", "another order"],
)
def test_a_source_that_changes_meanwhile_is_noticed(spec, documents, monkeypatch, change):
    def change_after(sources, dealer):
        deal = deal_documents(sources, dealer)
        documents.write_text(change(documents.read_text()))
        return deal

    monkeypatch.setattr(build, "deal_documents", change_after)
    with pytest.raises(SpecError, match="changed while the corpus was built"):
        build_corpus(spec())
    assert list(open_store(spec().root).list("")) == []


def test_special_tokens_in_text_are_text_unless_the_spec_says_otherwise(spec, documents):
    lines = [{"text": f"w{i} <s> w{i + 1} " * 8, "id": f"doc{i}"} for i in range(90)]
    documents.write_text("\n".join(json.dumps(line) for line in lines))
    for parsed in (False, True):
        manifest = build_corpus(spec(bos_token=None, special_tokens_in_text=parsed))
        token_ids = open_sequences(open_store(spec().root), manifest.corpus_id).token_ids(0, 20)
        assert (manifest.special_token_ids[0] in token_ids) == parsed


TEMPLATE = "{% for m in messages %}<s> {{ m.role }} {{ m.content }} {% endfor %}"


@pytest.fixture
def chat_spec(spec, word_tokenizer, tmp_path):
    (word_tokenizer / "chat_template.jinja").write_text(TEMPLATE)
    rows = [
        {
            "messages": [
                {"role": "user", "content": " ".join(f"w{(i + j) % 100}" for j in range(4 + i % 5))},
                {"role": "assistant", "content": f"w{i % 50} w{i % 7} w{i % 11}"},
            ]
        }
        for i in range(150)
    ]
    (tmp_path / "chats.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    source = {"kind": "jsonl", "path": f"{tmp_path}/chats.jsonl", "messages_field": "messages"}
    return lambda *more, **fields: spec(sources=[source, *more], bos_token=None, **fields)


def _roles(sequences, manifest):
    """Tokens of each role, over the corpus."""
    token_ids = sequences.token_ids(0, manifest.num_sequences)
    found = {}
    for index, runs in enumerate(sequences.table(0, manifest.num_sequences)["roles"].to_pylist()):
        for run in runs:
            part = token_ids[index, run["start"] : run["start"] + run["length"]]
            assert len(part) == run["length"] > 0
            found.setdefault(run["role"], []).extend(part.tolist())
    return found


def test_a_chat_corpus_says_whose_each_token_is(chat_spec):
    manifest = build_corpus(chat_spec())
    sequences = open_sequences(open_store(chat_spec().root), manifest.corpus_id)
    assert manifest.roles == ["assistant", "template", "user"]
    assert manifest.chat_template_sha256 == sha256_hex(TEMPLATE.encode())
    roles = _roles(sequences, manifest)
    assert sum(len(tokens) for tokens in roles.values()) == manifest.num_tokens
    # <s> and the name of the role, which is no word of the tokenizer, are the template's; words are never.
    assert set(roles["template"]) == {0, *manifest.special_token_ids}
    assert not {0, *manifest.special_token_ids} & {*roles["user"], *roles["assistant"]}


def test_rows_of_a_role_can_be_selected(chat_spec):
    manifest = build_corpus(chat_spec())
    sequences = open_sequences(open_store(chat_spec().root), manifest.corpus_id)
    selector = RowSelector(RowSelection(roles=("assistant",)), manifest)
    selector.check(sequences, manifest.splits)
    mask = selector.mask(sequences, 0, manifest.num_sequences)
    kept = sequences.rows(0, manifest.num_sequences, mask)["token_id"].to_pylist()
    assert kept == _roles(sequences, manifest)["assistant"]


def test_text_beside_chats_has_no_role(chat_spec, documents):
    text = {"kind": "jsonl", "path": str(documents), "id_field": "id"}
    manifest = build_corpus(chat_spec(text))
    sequences = open_sequences(open_store(chat_spec().root), manifest.corpus_id)
    with_role = sum(len(tokens) for tokens in _roles(sequences, manifest).values())
    rows = sequences.rows(0, manifest.num_sequences)["doc_id"].to_pylist()
    assert 0 < with_role == sum(doc_id.startswith("chats.jsonl:") for doc_id in rows) < len(rows)


def test_another_template_or_variable_has_another_id(chat_spec, tmp_path):
    (tmp_path / "other.jinja").write_text("{{ name | default('w1') }} " + TEMPLATE)
    (tmp_path / "copy.jinja").write_text(TEMPLATE)
    ids = [
        build_corpus(chat_spec(chat=chat)).corpus_id
        for chat in (
            {},
            {"template_file": f"{tmp_path}/copy.jinja"},
            {"template_file": f"{tmp_path}/other.jinja"},
            {"template_file": f"{tmp_path}/other.jinja", "variables": {"name": "w2"}},
        )
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_chat_without_conversations_is_refused(spec):
    with pytest.raises(SpecError, match="messages_field"):
        spec(chat={"variables": {"name": "x"}})


def test_a_source_of_both_text_and_conversations_is_refused(spec):
    source = {"kind": "jsonl", "path": "x", "text_field": "body", "messages_field": "messages"}
    with pytest.raises(SpecError, match="name one"):
        spec(sources=[source])


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
