import pytest
from hypothesis import given
from hypothesis import strategies as st

from thresher.contracts.errors import SpecError
from thresher.corpus.sources.files import find_files, open_folder

NAMES = ["a.jsonl", "b.jsonl.gz", "sub/c.jsonl", "sub/deep/d.jsonl", "sub/e.txt", "[odd].jsonl"]


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("a.jsonl", ["a.jsonl"]),
        ("[odd].jsonl", ["[odd].jsonl"]),
        ("*.jsonl", ["[odd].jsonl", "a.jsonl"]),
        ("**/*.jsonl", ["[odd].jsonl", "a.jsonl", "sub/c.jsonl", "sub/deep/d.jsonl"]),
        ("s?b/*", ["sub/c.jsonl", "sub/e.txt"]),
        ("[!s]*.gz", ["b.jsonl.gz"]),
        ("sub/**", ["c.jsonl", "deep/d.jsonl", "e.txt"]),
        ("sub", ["c.jsonl", "deep/d.jsonl"]),
        ("sub/", ["c.jsonl", "deep/d.jsonl"]),
    ],
)
def test_a_file_a_folder_and_a_pattern_find_their_files(folder, path, names):
    found = find_files("sources.path", f"{folder}/{path}", (".jsonl", ".jsonl.gz"))
    assert [file.name for file in found] == names
    for file in found:
        assert file.key.endswith(file.read().decode().rpartition("/")[2])
        assert file.size == len(file.read())


def test_urls_and_relative_paths_find_the_same(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for path in ("sub/*.jsonl", (folder / "sub").as_uri() + "/*.jsonl", f"{folder}/sub/*.jsonl"):
        [file] = find_files("sources.path", path, ())
        assert file.read() == b"sub/c.jsonl"
    [file] = find_files("sources.path", "a.jsonl", ())
    assert file.read() == b"a.jsonl"


@pytest.mark.parametrize("path", ["gone.jsonl", "*.parquet", "sub/deep/deeper", "gone/*.jsonl"])
def test_nothing_there_is_named(folder, path):
    with pytest.raises(SpecError) as caught:
        find_files("sources.path", f"{folder}/{path}", (".jsonl",))
    assert f"{folder}/{path}" in str(caught.value)
    assert "sources.path" in str(caught.value)


@given(st.lists(st.text("ab.", min_size=1, max_size=3), min_size=1, max_size=3))
def test_two_stars_match_every_name(tmp_path_factory, parts):
    parts = [part for part in parts if part.strip(".")] or ["a"]
    folder = tmp_path_factory.mktemp("names")
    file = folder.joinpath(*parts)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")
    name = "/".join(parts)
    for pattern in ("**", f"**/{parts[-1]}", "/".join("*" for _ in parts), name):
        assert [item.name for item in open_folder(str(folder)).matching(pattern)] == [name]
