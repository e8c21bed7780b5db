"""Single rows read back by ranged reads, whatever the encoding and the batches."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from fixtures.harvests import write_harvest
from fixtures.import_sources import put_npy
from thresher.activations.importer.run import import_activations
from thresher.activations.importer.spec import ImportSpec
from thresher.contracts.errors import IntegrityError
from thresher.evaluation.row_sample import draw_sample
from thresher.evaluation.stored_rows import dense_values, read_rows
from thresher.storage import ObjectStore, open_store

X_ND = np.random.default_rng(0).standard_normal((320, 8)).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(f"file://{tmp_path}/store")


@pytest.mark.parametrize(
    ("encoding", "centre", "error"),
    [("bfloat16", False, 2.0**-8), ("float16", False, 2.0**-11), ("int8", False, 0.01), ("int8", True, 0.02)],
)
def test_rows_of_every_encoding_are_those_that_were_stored(
    store: ObjectStore, encoding: str, centre: bool, error: float
) -> None:
    spec = {"root": store.url, "sites": {"e.0": put_npy(store, "x", X_ND + 3)}, "encoding": encoding}
    splits = {"fit": 1, "explain": 0, "report": 0}
    manifest = import_activations(ImportSpec.parse({**spec, "centre": centre, "splits": splits}))
    rows = np.array([0, 3, 17, 250, 319])
    [shard] = manifest.shards
    found = dense_values(read_rows(store, shard.sites["e.0"], 320, rows), 8)
    off = np.linalg.norm(found - (X_ND[rows] + 3), axis=1) / np.linalg.norm(X_ND[rows] + 3, axis=1)
    assert 0 < off.max() < error
    assert off.max() <= manifest.sites["e.0"].max_row_error * 1.01


@pytest.mark.parametrize("rows_per_batch", [7, 64, 320, 1000])
def test_batches_of_any_length(store: ObjectStore, rows_per_batch: int) -> None:
    manifest = write_harvest(
        store,
        {"e.0": X_ND},
        sequence_length=1,
        splits={"fit": 320},
        sequences_per_shard=320,
        rows_per_batch=rows_per_batch,
    )
    rows = np.array([0, 6, 7, 8, 63, 64, 319])
    table = read_rows(store, manifest.shards[0].sites["e.0"], 320, rows)
    np.testing.assert_allclose(dense_values(table, 8), X_ND[rows], rtol=2.0**-10, atol=1e-6)


def test_batches_of_different_lengths_and_a_wrong_count(store: ObjectStore) -> None:
    manifest = write_harvest(
        store, {"e.0": X_ND}, sequence_length=1, splits={"fit": 320}, sequences_per_shard=320
    )
    entry = manifest.shards[0].sites["e.0"]
    table = pa.ipc.open_file(pa.BufferReader(store.get(entry.key))).read_all()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as file:
        for start, stop in ((0, 5), (5, 200), (200, 320)):
            file.write_table(table.slice(start, stop - start).combine_chunks())
    store.put(entry.key, sink.getvalue().to_pybytes())
    rows = np.array([4, 5, 199, 200])
    found = dense_values(read_rows(store, entry, 320, rows), 8)
    np.testing.assert_allclose(found, X_ND[rows], rtol=2.0**-10, atol=1e-6)
    with pytest.raises(IntegrityError, match="320 rows; its record says 321"):
        read_rows(store, entry, 321, rows)


def test_a_sample_is_of_the_same_rows_at_every_site_without_position_0(store: ObjectStore) -> None:
    x_ND = np.repeat(np.arange(320, dtype=np.float32)[:, None], 4, axis=1)
    sites = {"a.0": x_ND, "b.0": -x_ND}
    manifest = write_harvest(store, sites, sequence_length=16, splits={"fit": 20}, sequences_per_shard=5)
    sample = draw_sample(store, manifest, 100, seed=1)
    numbers = sample.x_by_site["a.0"][:, 0]
    np.testing.assert_array_equal(sample.x_by_site["b.0"][:, 0], -numbers)
    assert len(set(numbers.tolist())) == len(sample) == 100
    assert (numbers % 16 != 0).all()
    assert len({int(number) // 80 for number in numbers}) == 4, "of every shard"
    again, other = draw_sample(store, manifest, 100, seed=1), draw_sample(store, manifest, 100, seed=2)
    np.testing.assert_array_equal(again.x_by_site["a.0"], sample.x_by_site["a.0"])
    assert not np.array_equal(other.x_by_site["a.0"], sample.x_by_site["a.0"])
