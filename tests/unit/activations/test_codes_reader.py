"""Sparse codes come back as they were written, and nothing broken comes back at all."""

import numpy as np
import pytest

from fixtures.codes import SITE, codes_batch, ipc_bytes, plant, write_sparse_harvest
from thresher.activations.codes_reader import CodesReader, open_codes
from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError, MissingArtifactError, SpecError
from thresher.contracts.manifests import HarvestManifest, SiteFile, SplitRange
from thresher.storage import ObjectStore
from thresher.storage.artifacts import put_hashed_file, record_bytes

LENGTH, NUM_SEQUENCES, NUM_LATENTS = 8, 10, 5
HARVEST = "5e1ec7ed"


@pytest.fixture(name="codes_RF")
def make_codes() -> np.ndarray:
    rng = np.random.default_rng(7)
    codes_RF = rng.random((NUM_SEQUENCES * LENGTH, NUM_LATENTS), np.float32) + 0.5
    codes_RF[rng.random(codes_RF.shape) < 0.6] = 0
    codes_RF[LENGTH : 2 * LENGTH] = 0  # a whole silent sequence
    return codes_RF


def write(store: ObjectStore, codes_RF: np.ndarray) -> HarvestManifest:
    num_rows = len(codes_RF)
    planted = plant(
        codes_RF,
        token_ids=np.arange(num_rows, dtype=np.int32) * 3,
        doc_ids=[f"doc-{row // 13}" for row in range(num_rows)],
        sequence_length=LENGTH,
        splits=[SplitRange(split="explain", start=0, stop=5), SplitRange(split="report", start=5, stop=10)],
    )
    return write_sparse_harvest(store, planted, harvest_id=HARVEST, sequences_per_shard=4, batch_rows=10)


def test_every_code_and_row_comes_back(store: ObjectStore, codes_RF: np.ndarray) -> None:
    write(store, codes_RF)
    reader = open_codes(store, HARVEST)
    assert (reader.site, reader.num_latents, len(reader)) == (SITE, NUM_LATENTS, 3)
    read_RF = np.zeros_like(codes_RF)
    for shard in reader:
        first_row = shard.first_sequence * LENGTH
        rows = first_row + np.arange(shard.num_rows)
        read_RF[first_row + shard.rows_of_codes(), shard.latents] = shard.values
        assert shard.token_ids.tolist() == (rows * 3).tolist()
        assert [shard.doc_ids[index] for index in shard.documents] == [f"doc-{row // 13}" for row in rows]
    np.testing.assert_array_equal(read_RF, codes_RF)


def test_rows_are_addressed_by_sequence_and_position(store: ObjectStore, codes_RF: np.ndarray) -> None:
    write(store, codes_RF)
    shard = open_codes(store, HARVEST).read(1)
    row = shard.rows_of(np.array([6]), np.array([3]))[0]
    assert shard.token_ids[row] == (6 * LENGTH + 3) * 3


def test_codes_by_latent_are_in_row_order(store: ObjectStore, codes_RF: np.ndarray) -> None:
    write(store, codes_RF)
    shard = open_codes(store, HARVEST).read(0)
    order = shard.by_latent()
    pairs = list(zip(shard.latents[order], shard.rows_of_codes()[order], strict=True))
    assert pairs == sorted(pairs)
    assert len(set(order.tolist())) == len(shard.latents)


def test_a_harvest_may_be_wholly_silent(store: ObjectStore) -> None:
    write(store, np.zeros((NUM_SEQUENCES * LENGTH, NUM_LATENTS), np.float32))
    assert all(len(shard.latents) == 0 for shard in open_codes(store, HARVEST))


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
@pytest.mark.parametrize("kind", ["codes", "rows"])
def test_a_damaged_file_is_refused_by_name(
    store: ObjectStore, codes_RF: np.ndarray, kind: str, damage: str
) -> None:
    commit = write(store, codes_RF).shards[1]
    key = commit.sites[SITE].key if kind == "codes" else commit.rows.key
    data = bytearray(store.get(key))
    data[len(data) // 2] ^= 1
    if damage == "delete":
        store.delete(key)
    else:
        store.put(key, bytes(data) if damage == "flip" else bytes(data[:-100]))
    reader = open_codes(store, HARVEST)
    reader.read(0)
    with pytest.raises(IntegrityError, match=key):
        reader.read(1)


def reader_of_codes(store: ObjectStore, manifest: HarvestManifest, data: bytes) -> CodesReader:
    """The harvest with other bytes for the codes of its first shard, committed as if they were right."""
    entry = put_hashed_file(store, paths.site_shard_stem(paths.harvest(HARVEST), SITE, 0), ".arrow", data)
    site_file = SiteFile(**entry.model_dump(), relative_error=0.0)
    commit = manifest.shards[0].model_copy(update={"sites": {SITE: site_file}})
    return CodesReader(store, manifest.model_copy(update={"shards": [commit]}))


ROWS_OF_SHARD = 4 * LENGTH


def breaking_batch(fault: str) -> bytes:
    """Two codes in row 0, one in row 1, none after; broken in one way."""
    num_rows = ROWS_OF_SHARD - (fault == "rows")
    offsets = np.concatenate([[0, 2], np.full(num_rows - 1, 3)])
    latents, values = np.array([1, 3, 0], np.int32), np.array([1, 2, 3], np.float32)
    if fault == "ascend":
        latents[:2] = [3, 1]
    elif fault == "latent outside":
        latents[2] = NUM_LATENTS
    elif fault in ("positive", "finite"):
        values[1] = 0 if fault == "positive" else np.nan
    return ipc_bytes([codes_batch(offsets, latents, values)])


@pytest.mark.parametrize("fault", ["ascend", "latent outside", "positive", "finite", "rows"])
def test_codes_that_break_the_contract_are_refused(
    store: ObjectStore, codes_RF: np.ndarray, fault: str
) -> None:
    manifest = write(store, codes_RF)
    assert reader_of_codes(store, manifest, breaking_batch("none")).read(0).latents.tolist() == [
        1,
        3,
        0,
    ]
    with pytest.raises(IntegrityError, match=fault):
        reader_of_codes(store, manifest, breaking_batch(fault)).read(0)


def test_a_file_that_is_no_arrow_is_refused(store: ObjectStore, codes_RF: np.ndarray) -> None:
    manifest = write(store, codes_RF)
    with pytest.raises(IntegrityError, match="not an Arrow IPC file"):
        reader_of_codes(store, manifest, b"not arrow at all").read(0)


def test_rows_of_another_shard_are_refused(store: ObjectStore, codes_RF: np.ndarray) -> None:
    manifest = write(store, codes_RF)
    commit = manifest.shards[0].model_copy(update={"rows": manifest.shards[1].rows})
    with pytest.raises(IntegrityError, match="once, in order"):
        CodesReader(store, manifest.model_copy(update={"shards": [commit]})).read(0)


def test_a_dense_harvest_is_refused_with_the_mend(store: ObjectStore, codes_RF: np.ndarray) -> None:
    manifest = write(store, codes_RF)
    dense = manifest.model_copy(update={"encoding": "bfloat16", "dictionary": None, "harvest_id": "de45e"})
    store.put(paths.manifest(paths.harvest("de45e")), record_bytes(dense))
    with pytest.raises(SpecError, match=r"harvest.*`dictionary`"):
        open_codes(store, "de45e")


def test_an_unknown_harvest_is_missing(store: ObjectStore) -> None:
    with pytest.raises(MissingArtifactError, match="activations/nothing"):
        open_codes(store, "nothing")
