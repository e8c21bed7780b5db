"""Every kind of source gives the same documents; every fault names its file and its line or row."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from thresher.contracts.errors import SpecError
from thresher.corpus.document import Message
from thresher.corpus.source_spec import Source
from thresher.corpus.sources import json_lines
from thresher.corpus.sources.read import open_source, read_documents

ROWS = [{"text": f"text {index} é\u2028", "id": f"doc{index}"} for index in range(1100)]
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def _read(**source):
    parsed = TypeAdapter(Source).validate_python(source)
    return [document for file in open_source(parsed) for document in read_documents(file)]


def _lines(rows):
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def _stream(path: Path, table: pa.Table):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=700)


def _saved(folder: Path, rows, parts=2):
    """What Dataset.save_to_disk writes."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{index:05d}-of-{parts:05d}.arrow" for index in range(parts)]
    size = -(-len(rows) // parts)
    for index, name in enumerate(names):
        _stream(folder / name, pa.Table.from_pylist(rows[index * size : (index + 1) * size]))
    state = {"_data_files": [{"filename": name} for name in names], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def _zst(path: Path, data: bytes):
    with pa.CompressedOutputStream(str(path), "zstd") as stream:
        stream.write(data)


def _write_jsonl(folder):
    (folder / "x.jsonl").write_bytes(_lines(ROWS))
    return {"kind": "jsonl", "path": f"{folder}/x.jsonl"}


def _write_gz(folder):
    # Two members, as `cat a.gz b.gz` makes them.
    (folder / "x.jsonl.gz").write_bytes(gzip.compress(_lines(ROWS[:500])) + gzip.compress(_lines(ROWS[500:])))
    return {"kind": "jsonl", "path": f"{folder}/x.jsonl.gz"}


def _write_zst_folder(folder):
    _zst(folder / "a.jsonl.zst", _lines(ROWS[:500]))
    _zst(folder / "b.jsonl.zst", _lines(ROWS[500:]))
    return {"kind": "jsonl", "path": str(folder)}


def _write_parquet(folder):
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "x.parquet", row_group_size=300)
    return {"kind": "parquet", "path": f"{folder}/*.parquet"}


def _write_saved(folder):
    _saved(folder, ROWS)
    return {"kind": "huggingface", "path": str(folder)}


def _write_dict(folder):
    _saved(folder / "train", ROWS)
    _saved(folder / "test", ROWS[:3], parts=1)
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    return {"kind": "huggingface", "path": str(folder), "split": "train"}


def _write_hub(folder):
    (folder / "data").mkdir()
    for index in range(2):
        rows = pa.Table.from_pylist(ROWS[index * 550 : (index + 1) * 550])
        pq.write_table(rows, folder / f"data/train-{index:05d}-of-00002-0123456789abcdef.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS[:3]), folder / "data/validation-00000-of-00001.parquet")
    return {"kind": "huggingface", "path": str(folder), "split": "train"}


def _write_converted(folder):
    (folder / "default/train").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "default/train/0000.parquet")
    return {"kind": "huggingface", "path": str(folder)}


KINDS = [
    _write_jsonl,
    _write_gz,
    _write_zst_folder,
    _write_parquet,
    _write_saved,
    _write_dict,
    _write_hub,
    _write_converted,
]


@pytest.mark.parametrize("write", KINDS)
def test_every_kind_gives_the_same_documents(tmp_path, write):
    found = _read(**write(tmp_path), id_field="id", id_prefix="p/")
    assert [(item.doc_id, item.content) for item in found] == [
        (f"p/{row['id']}", row["text"]) for row in ROWS
    ]


@pytest.mark.parametrize("write", KINDS)
def test_without_an_id_field_ids_are_file_and_number(tmp_path, write):
    found = _read(**write(tmp_path))
    assert len({item.doc_id for item in found}) == len(ROWS)
    assert found[0].doc_id.endswith(":0")


@pytest.mark.parametrize("write", [_write_jsonl, _write_gz, _write_parquet, _write_saved])
def test_progress_reaches_the_size_of_the_files(tmp_path, write):
    source = TypeAdapter(Source).validate_python(write(tmp_path))
    for file in open_source(source):
        done = []
        assert list(read_documents(file, done.append))
        assert 0.95 * file.size <= sum(done) <= file.size


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=40), max_size=30), st.integers(1, 64))
def test_lines_are_cut_right_whatever_the_window(tmp_path_factory, texts, window):
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    path.write_bytes(b"\n".join(json.dumps({"text": text}, ensure_ascii=False).encode() for text in texts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lines, "CHUNK_BYTES", window)
        found = _read(kind="jsonl", path=str(path))
    assert [item.content for item in found] == [text for text in texts if text.strip()]


def test_blank_lines_windows_line_ends_and_a_byte_order_mark_are_read_over(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n{"text": "b"}')
    found = _read(kind="jsonl", path=f"{tmp_path}/x.jsonl")
    assert [(item.doc_id, item.content) for item in found] == [("x.jsonl:0", "a"), ("x.jsonl:2", "b")]


def test_both_forms_of_conversations_are_the_same(tmp_path):
    shared = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
    (tmp_path / "x.jsonl").write_bytes(
        _lines([{"c": CHAT}, {"c": shared}, {"c": [*CHAT, {"role": "tool", "content": "1"}]}, {"c": None}])
    )
    found = _read(kind="jsonl", path=f"{tmp_path}/x.jsonl", messages_field="c")
    assert [item.content for item in found] == [
        (Message("user", "Hi"), Message("assistant", "Hello")),
        (Message("user", "Hi"), Message("assistant", "Hello")),
        (Message("user", "Hi"), Message("assistant", "Hello"), Message("tool", "1")),
    ]


def test_conversations_of_tables_are_read(tmp_path):
    _saved(tmp_path, [{"messages": CHAT}] * 3)
    found = _read(kind="huggingface", path=str(tmp_path), messages_field="messages")
    assert [item.content for item in found] == [(Message("user", "Hi"), Message("assistant", "Hello"))] * 3


@pytest.mark.parametrize(
    ("line", "fields", "words"),
    [
        (b"not json", {}, ["sources.path", "not JSON"]),
        (b'{"text": "\xff"}', {}, ["sources.path", "UTF-8"]),
        (b"[1]", {}, ["sources.path", "no JSON object"]),
        (b'{"body": "x"}', {}, ["sources.text_field", "no such field"]),
        (b'{"text": 3}', {}, ["sources.text_field", "int"]),
        (b'{"text": "\\ud800"}', {}, ["sources.text_field", "surrogate"]),
        (b'{"text": "x", "id": [1]}', {"id_field": "id"}, ["sources.id_field"]),
        (b'{"c": "x"}', {"messages_field": "c"}, ["sources.messages_field", "str", "not a list"]),
        (b'{"c": [{"role": "user"}]}', {"messages_field": "c"}, ["sources.messages_field", "message 0"]),
        (b'{"c": ["x"]}', {"messages_field": "c"}, ["sources.messages_field", "message 0"]),
        (
            b'{"c": [{"role": "user<|end|>", "content": "x"}]}',
            {"messages_field": "c"},
            ["role", "user<|end|>"],
        ),
        (
            b'{"c": [{"role": "assistant", "content": "x", "tool_calls": [{}]}]}',
            {"messages_field": "c"},
            ["tools"],
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, fields, words):
    good = _lines([{"text": "w1", "id": "a", "c": CHAT}])
    (tmp_path / "x.jsonl").write_bytes(good + line)
    with pytest.raises(SpecError) as caught:
        _read(kind="jsonl", path=f"{tmp_path}/x.jsonl", **fields)
    for word in [*words, "Line 2", f"{tmp_path}/x.jsonl"]:
        assert word in str(caught.value)


def test_a_bad_row_of_a_table_is_named(tmp_path):
    pq.write_table(pa.table({"text": [["a"], ["b"]]}), tmp_path / "x.parquet")
    with pytest.raises(SpecError, match=r"Row 0 \(from 0\) of .*x\.parquet has list there"):
        _read(kind="parquet", path=f"{tmp_path}/x.parquet")


def _cut(path: Path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


@pytest.mark.parametrize("write", [_write_gz, _write_zst_folder, _write_parquet, _write_saved])
def test_a_file_that_was_cut_off_is_named(tmp_path, write):
    source = write(tmp_path)
    file = sorted(path for path in tmp_path.iterdir() if path.suffix != ".json")[-1]
    _cut(file)
    with pytest.raises(SpecError, match=r"sources\.path") as caught:
        _read(**source)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("kind", ["parquet", "huggingface"])
def test_a_column_that_is_not_there_is_answered_with_those_that_are(tmp_path, kind):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "x.parquet")
    path = str(tmp_path) if kind == "huggingface" else f"{tmp_path}/x.parquet"
    for field in ("text_field", "id_field", "messages_field"):
        with pytest.raises(SpecError, match=rf"sources\.{field}: cannot use 'body'. Allowed: text, id"):
            _read(kind=kind, path=path, **{field: "body"})


def test_which_split_must_be_said_where_there_are_two(tmp_path):
    for number, write in enumerate((_write_dict, _write_hub)):
        folder = tmp_path / str(number)
        folder.mkdir()
        source = write(folder) | {"split": None}
        with pytest.raises(SpecError, match=r"sources\.split.*Allowed: .*train"):
            _read(**source)
        with pytest.raises(SpecError, match=r"sources\.split.*dev.*Allowed: .*train"):
            _read(**source | {"split": "dev"})


def test_configurations_are_not_mixed(tmp_path):
    for name in ("en", "de"):
        (tmp_path / name).mkdir()
        pq.write_table(pa.Table.from_pylist(ROWS[:3]), tmp_path / name / "train-00000-of-00001.parquet")
    with pytest.raises(SpecError, match=r"several configurations") as caught:
        _read(kind="huggingface", path=str(tmp_path))
    assert f"{tmp_path}/de, {tmp_path}/en" in str(caught.value)
    assert len(_read(kind="huggingface", path=f"{tmp_path}/en")) == 3


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ('{"_data_files": [{"filename": "gone.arrow"}]}', "lacks gone.arrow"),
        ('{"_data_files": []}', "lacks data files"),
        ('{"_data_files": [], "_indices_data_files": [{"filename": "i.arrow"}]}', "flatten_indices"),
        ("{", "not JSON"),
        ("[]", "no JSON object"),
    ],
)
def test_a_data_set_that_cannot_be_read_says_why(tmp_path, state, words):
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(SpecError, match=words):
        _read(kind="huggingface", path=str(tmp_path))


def test_an_empty_folder_is_no_data_set(tmp_path):
    with pytest.raises(SpecError, match=r"state\.json, dataset_dict\.json"):
        _read(kind="huggingface", path=str(tmp_path))


def test_empty_files_hold_no_documents(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"")
    (tmp_path / "b.txt").write_bytes(b"")
    assert _read(kind="jsonl", path=f"{tmp_path}/a.jsonl") == []
    assert _read(kind="text_files", folder=str(tmp_path)) == []
