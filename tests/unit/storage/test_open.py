"""Root urls."""

from pathlib import Path

import pytest

from thresher.contracts.errors import SpecError
from thresher.storage import open_store


@pytest.mark.parametrize("name", ["plain", "with space", "per%20cent", "quest?ion", "ha#sh", "é"])
def test_any_folder_can_be_a_root(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    store = open_store(folder.as_uri())
    store.put("key", b"x")

    assert (folder / "key").read_bytes() == b"x"
    assert store.url == folder.as_uri()


@pytest.mark.parametrize(
    ("root", "url"), [("s3://bucket", "s3://bucket"), ("s3://bucket/a/b/", "s3://bucket/a/b")]
)
def test_a_bucket_is_named_without_being_touched(root: str, url: str) -> None:
    assert open_store(root).url == url


@pytest.mark.parametrize(
    "root", ["", "/folder", "file://relative/x", "http://host/x", "s3:///x", "file:///a?b", "s3://bucket/a#b"]
)
def test_other_roots_are_refused(root: str) -> None:
    with pytest.raises(SpecError, match="root"):
        open_store(root)
