"""Keys that could leave the store's root are refused, by every call of a store."""

from collections.abc import Callable
from pathlib import Path

import pytest

from thresher.contracts.errors import SpecError
from thresher.storage import ObjectStore, open_store
from thresher.storage.keys import check_key, check_prefix

BAD_KEYS = ["", "/etc/passwd", "..", "a/../b", "a/..", "./a", "a//b", "a/", "a\\b", "a\nb", "a\x00b"]
CALLS: list[Callable[[ObjectStore, str], object]] = [
    lambda store, key: store.get(key),
    lambda store, key: store.head(key),
    lambda store, key: store.put(key, b""),
    lambda store, key: store.open_write(key),
    lambda store, key: store.delete(key),
    lambda store, key: store.local_path(key),
]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_bad_keys_are_refused(key: str) -> None:
    with pytest.raises(SpecError, match="key"):
        check_key(key)


@pytest.mark.parametrize("key", ["a", "a/b.c/d-e_f", "..a", "a..b", ".probe/x", "é"])
def test_good_keys_pass(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "a/b.", "a/.."])
def test_prefixes_may_end_anywhere(prefix: str) -> None:
    assert check_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["/", "/a", "../", "a/../b", "a//b", "a\\"])
def test_bad_prefixes_are_refused(prefix: str) -> None:
    with pytest.raises(SpecError, match="key"):
        check_prefix(prefix)


@pytest.mark.parametrize("key", ["../outside", ".tmp/unfinished"])
@pytest.mark.parametrize("call", CALLS)
def test_a_folder_store_refuses_them_in_every_call(
    tmp_path: Path, call: Callable[[ObjectStore, str], object], key: str
) -> None:
    root = tmp_path / "root"
    with pytest.raises(SpecError, match="key"):
        call(open_store(root.as_uri()), key)
    assert list(tmp_path.iterdir()) == []
