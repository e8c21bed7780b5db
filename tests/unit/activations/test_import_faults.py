"""What an import refuses, before it writes or at the row at fault, and how it says so."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save

from fixtures.import_sources import npy_bytes, put_npy, put_parquet
from thresher.activations.importer.run import import_activations
from thresher.activations.importer.spec import ImportSpec
from thresher.contracts.errors import SpecError
from thresher.storage import ObjectStore, open_store

X_ND = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(f"file://{tmp_path}/store")


def refused(store: ObjectStore, site: object, *words: str, **values: object) -> None:
    """The import is refused with all the words, and no manifest appears."""
    data = {"root": store.url, "sites": {"e.0": site}, "splits": {"fit": 1, "explain": 0, "report": 0}}
    with pytest.raises(SpecError) as caught:
        import_activations(ImportSpec.parse({**data, **values}))
    for word in words:
        assert word in str(caught.value)
    assert not [info for info in store.list("activations/") if info.key.endswith("manifest.json")]


def changed(row: int, value: float, dtype: type = np.float32) -> np.ndarray:
    x_ND = X_ND.astype(dtype)
    x_ND[row, 2] = value
    return x_ND


def ragged(store: ObjectStore) -> dict[str, object]:
    return put_parquet(store, "r", {"x": pa.array([[1.0, 2.0]] * 80 + [[1.0]])})


def with_null(store: ObjectStore) -> dict[str, object]:
    return put_parquet(store, "n", {"x": pa.array([[1.0, 2.0]] * 80 + [[1.0, None]])})


def put_raw(store: ObjectStore, name: str, data: bytes, **source: object) -> dict[str, object]:
    store.put(f"sources/{name}", data)
    return {"path": f"{store.url}/sources/{name}", **source}


def pickled(store: ObjectStore) -> dict[str, object]:
    return put_npy(store, "o", np.array([{"a": 1}, None], dtype=object))


def column_order(store: ObjectStore) -> dict[str, object]:
    return put_npy(store, "f", np.asfortranarray(X_ND))


def cut_off(store: ObjectStore) -> dict[str, object]:
    return put_raw(store, "cut.npy", npy_bytes(X_ND)[:-5], kind="npy")


def of_two_widths(store: ObjectStore) -> dict[str, object]:
    store.put("sources/w-1.npy", npy_bytes(X_ND[:, :3]))
    return put_npy(store, "w", X_ND) and {"kind": "npy", "path": f"{store.url}/sources/w-*.npy"}


def no_safetensors(store: ObjectStore) -> dict[str, object]:
    return put_raw(
        store, "x.safetensors", b"\x10" + b"\0" * 7 + b"not JSON at all!", kind="safetensors", tensor="x"
    )


def other_tensor(store: ObjectStore) -> dict[str, object]:
    return put_raw(store, "y.safetensors", save({"y": X_ND}), kind="safetensors", tensor="x")


def cut_safetensors(store: ObjectStore) -> dict[str, object]:
    return put_raw(store, "z.safetensors", save({"x": X_ND})[:-1], kind="safetensors", tensor="x")


@pytest.mark.parametrize(
    ("put", "words"),
    [
        (lambda store: put_npy(store, "x", changed(33, np.nan), cut=30), ["x-1.npy row 3 column 2", "nan"]),
        (lambda store: put_npy(store, "x", changed(7, 1e300, np.float64)), ["row 7 column 2", "inf"]),
        (lambda store: put_npy(store, "x", changed(9, np.inf).reshape(8, 5, 4)), ["row 1 position 4"]),
        (pickled, ["o-0.npy", "pickled"]),
        (column_order, ["f-0.npy", "ascontiguousarray"]),
        (cut_off, ["cut.npy", "763 bytes of 768"]),
        (of_two_widths, ["w-1.npy", "(3,)", "(4,)"]),
        (lambda store: put_npy(store, "x", X_ND.astype(complex)), ["complex"]),
        (lambda store: put_npy(store, "x", X_ND[:, 0]), ["shape (40,)", "[rows, width]"]),
        (lambda store: put_npy(store, "x", X_ND[:0]), ["shape (0, 4)"]),
        (lambda store: put_npy(store, "x", np.array([["a", "b"]])), ["numbers"]),
        (lambda store: put_raw(store, "x.npy", b"no array", kind="npy"), ["x.npy", "no .npy file"]),
        (
            lambda store: {"kind": "npy", "path": f"{store.url}/absent-*.npy"},
            ["absent-*.npy", "at least one"],
        ),
        (no_safetensors, ["x.safetensors", "no JSON"]),
        (other_tensor, ["tensor", "'x'", "Allowed: y"]),
        (cut_safetensors, ["z.safetensors", "cut off"]),
        (lambda store: put_parquet(store, "p", {"a": [1.0]}, "b"), ["columns", "'b'", "Allowed: a"]),
        (lambda store: put_parquet(store, "p", {"a": ["t"]}), ["a: string", "lists of numbers"]),
        (lambda store: put_raw(store, "p", b"PAR", kind="parquet", columns=["a"]), ["no Parquet file"]),
        (ragged, ["r.parquet row 80", "1 values", "2"]),
        (with_null, ["n.parquet row 80", "null"]),
    ],
)
def test_a_bad_source_is_refused_by_name(
    store: ObjectStore, put: Callable[[ObjectStore], object], words: list[str]
) -> None:
    refused(store, put(store), *words)


def test_sites_that_differ_in_their_rows(store: ObjectStore) -> None:
    x = put_npy(store, "x", X_ND)
    refused(
        store, None, "sites.b.0", "39 rows", "40 rows", sites={"a.0": x, "b.0": put_npy(store, "y", X_ND[1:])}
    )
    cubes = {
        "a.0": put_npy(store, "u", X_ND.reshape(8, 5, 4)),
        "b.0": put_npy(store, "v", X_ND.reshape(10, 4, 4)),
    }
    refused(store, None, "sites.b.0", "sequences of 4", "sequences of 5", sites=cubes)
    refused(store, x, "40 rows", "multiples of sequence_length 7", sequence_length=7)


def test_addresses_that_do_not_fit(store: ObjectStore) -> None:
    x = put_npy(store, "x", X_ND)
    short = put_npy(store, "s", np.arange(39))
    refused(store, x, "address.doc_id", "(39,)", "(40,)", address={"doc_id": short})
    nulls = put_parquet(store, "d", {"id": ["a"] * 39 + [None]})
    refused(store, x, "address.doc_id", "d.parquet row 39", address={"doc_id": nulls})
    refused(
        store, x, "address.token_id", "2^31", address={"token_id": put_npy(store, "t", np.arange(40) + 2**31)}
    )
    per_row = put_npy(store, "r", np.arange(40))
    refused(store, x, "one entry a sequence", address={"doc_id": per_row}, sequence_length=5)


def test_values_beyond_float16_and_splits_without_rows(store: ObjectStore) -> None:
    x = put_npy(store, "x", changed(11, 1e6))
    refused(store, x, "float16", "x-0.npy", "bfloat16", encoding="float16")
    refused(store, x, "splits.report", "1e-09", splits={"fit": 1 - 1e-9, "explain": 0, "report": 1e-9})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sites": {"embedding": {"kind": "npy", "path": "x"}}}, ["sites", "word.number"]),
        ({"sites": {}}, ["sites"]),
        ({"splits": {"fit": 1.0, "explain": 0.5, "report": 0}}, ["splits", "sum to 1"]),
    ],
)
def test_a_bad_spec(values: dict[str, object], words: list[str]) -> None:
    data = {"root": "file:///r", "sites": {"e.0": {"kind": "npy", "path": "x"}}}
    with pytest.raises(SpecError) as caught:
        ImportSpec.parse({**data, **values})
    for word in words:
        assert word in str(caught.value)


def test_a_file_that_changes_meanwhile_is_noticed(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thresher.activations.importer import run as run_module

    site, original = put_npy(store, "x", X_ND), run_module.write_shard

    def replacing(*arguments):
        store.put("sources/x-0.npy", npy_bytes(X_ND + 1))
        return original(*arguments)

    monkeypatch.setattr(run_module, "write_shard", replacing)
    refused(store, site, "x-0.npy", "changed while it was imported")
