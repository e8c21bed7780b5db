"""Imported activations: every kind of source gives the rows it holds, addressed, dealt by document, once each."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from fixtures.harvest_rows import dense_rows_of, row_addresses_of
from fixtures.harvests import planted_rows, unit_features
from fixtures.import_sources import PUT_ROWS, put_npy, put_parquet
from thresher.activations.importer import run as run_module
from thresher.activations.importer.run import import_activations
from thresher.activations.importer.spec import ImportSpec
from thresher.contracts import paths
from thresher.contracts.manifests import HarvestManifest
from thresher.contracts.schemas import ROWS
from thresher.dictionary.architectures.spec import BatchTopKSpec
from thresher.dictionary.job import FitJob
from thresher.dictionary.spec import FitSpec, TrainingSpec
from thresher.dictionary.target.spec import AutoencoderTarget
from thresher.dictionary.training.train_loop import train_and_publish
from thresher.latents.weights import load_encoder
from thresher.release.verify import verify
from thresher.storage import ObjectStore, open_store

N, D = 300, 6
X_ND = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
BFLOAT16_ERROR = 2.0**-8


def spec_of(store: ObjectStore, site: object, **values: object) -> ImportSpec:
    shares = {"fit": 0.6, "explain": 0.2, "report": 0.2}
    data = {"root": store.url, "sites": {"embedding.0": site}, "splits": shares, "rows_per_shard": 64}
    return ImportSpec.parse({**data, **values})


def source_rows(store: ObjectStore, manifest: HarvestManifest) -> np.ndarray:
    """Row numbers in the source, where documents are numbered as its rows are."""
    return np.array([int(text) for text in row_addresses_of(store, manifest)["doc_id"].to_pylist()])


@pytest.mark.parametrize("kind", PUT_ROWS)
def test_every_kind_of_source_gives_its_rows(store: ObjectStore, kind: str) -> None:
    manifest = import_activations(spec_of(store, PUT_ROWS[kind](store, X_ND)))
    numbers = source_rows(store, manifest)
    assert sorted(numbers) == list(range(N)), "each row once"
    stored = dense_rows_of(store, manifest, "embedding.0")
    np.testing.assert_allclose(stored, X_ND[numbers], rtol=BFLOAT16_ERROR)
    exact = kind == "bfloat16"
    assert (manifest.sites["embedding.0"].relative_error == 0) == exact
    assert verify(store, paths.harvest(manifest.harvest_id)) == []


def test_splits_are_ranges_in_the_order_of_the_source_and_shards_keep_to_one(store: ObjectStore) -> None:
    manifest = import_activations(spec_of(store, put_npy(store, "x", X_ND)))
    numbers = source_rows(store, manifest)
    assert [item.split for item in manifest.splits] == ["fit", "explain", "report"]
    assert [item.start for item in manifest.splits] == [0, *(item.stop for item in manifest.splits[:-1])]
    for item in manifest.splits:
        assert (np.diff(numbers[item.start : item.stop]) > 0).all()
        assert 0.1 < (item.stop - item.start) / N < 0.7
    for shard in manifest.shards:
        stop = shard.first_sequence + shard.num_sequences
        assert any(item.start <= shard.first_sequence and stop <= item.stop for item in manifest.splits)
        assert sum(shard.sites["embedding.0"].norm_counts.values()) == shard.num_rows


def test_a_document_lies_in_one_split_wherever_its_rows_are(store: ObjectStore) -> None:
    doc_id = put_parquet(store, "ids", {"id": [f"doc {number % 40}" for number in range(N)]})
    site = put_npy(store, "x", X_ND)
    manifest = import_activations(spec_of(store, site, address={"doc_id": doc_id}))
    documents = row_addresses_of(store, manifest)["doc_id"].to_pylist()
    parts = [set(documents[item.start : item.stop]) for item in manifest.splits]
    assert len(set().union(*parts)) == sum(len(part) for part in parts) == 40
    again = import_activations(spec_of(store, site, address={"doc_id": doc_id}, seed=1))
    assert again.splits != manifest.splits


def test_sequences_keep_their_order_tokens_and_context(store: ObjectStore) -> None:
    num_sequences, length = 60, 5
    x_SLD = X_ND.reshape(num_sequences, length, D)
    token_ids = np.arange(N, dtype=np.int64).reshape(num_sequences, length)
    texts = np.array([f"text {number}" for number in range(num_sequences)])
    manifest = import_activations(
        spec_of(
            store,
            put_npy(store, "x", x_SLD, cut=17),
            address={"token_id": put_npy(store, "t", token_ids), "payload": put_npy(store, "p", texts)},
        )
    )
    assert manifest.sequence_length == length
    parts = [store.get(shard.rows.key) for shard in manifest.shards]
    table = pa.concat_tables([pq.read_table(io.BytesIO(part)) for part in parts])
    assert table.schema.equals(ROWS.append(pa.field("payload", pa.string())))
    tokens = table["token_id"].to_numpy()
    np.testing.assert_array_equal(table["sequence"].to_numpy(), np.arange(N) // length)
    np.testing.assert_array_equal(table["position"].to_numpy(), np.arange(N) % length)
    np.testing.assert_array_equal(table["position"].to_numpy(), tokens % length)
    assert table["payload"].to_pylist() == [f"text {token // length}" for token in tokens]
    stored = dense_rows_of(store, manifest, "embedding.0")
    np.testing.assert_allclose(stored, X_ND[tokens], rtol=BFLOAT16_ERROR)


def test_a_flat_array_is_cut_into_sequences_and_sites_share_their_rows(store: ObjectStore) -> None:
    sites = {"a.0": put_npy(store, "x", X_ND), "b.0": put_npy(store, "y", -X_ND.reshape(60, 5, D))}
    manifest = import_activations(spec_of(store, None, sites=sites))
    assert manifest.sequence_length == 5
    np.testing.assert_array_equal(
        dense_rows_of(store, manifest, "a.0"), -dense_rows_of(store, manifest, "b.0")
    )
    alone = import_activations(spec_of(store, None, sites={"a.0": sites["a.0"]}, sequence_length=10))
    assert (alone.sequence_length, alone.num_rows) == (10, N)


def test_the_id_follows_from_bytes_and_spec_alone(store: ObjectStore) -> None:
    manifest = import_activations(spec_of(store, put_npy(store, "x", X_ND)))
    moved = import_activations(spec_of(store, put_npy(store, "elsewhere", X_ND)))
    assert moved == manifest
    others = [
        import_activations(spec_of(store, put_npy(store, "y", X_ND + 1))),
        import_activations(spec_of(store, put_npy(store, "x", X_ND), encoding="float16")),
        import_activations(spec_of(store, put_npy(store, "x", X_ND), seed=3)),
    ]
    assert len({manifest.harvest_id, *(other.harvest_id for other in others)}) == 4


class KilledError(Exception):
    pass


def test_an_interrupted_import_resumes_and_ends_in_the_same_bytes(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(store, put_npy(store, "x", X_ND))
    undisturbed = import_activations(spec)
    key = paths.manifest(paths.harvest(undisturbed.harvest_id))
    expected = store.get(key)
    for info in list(store.list(f"{paths.harvest(undisturbed.harvest_id)}/")):
        store.delete(info.key)
    written: list[int] = []
    original = run_module.write_shard

    def failing(store_, shard, *rest):
        if shard.index == 3 and len(written) == 3:
            raise KilledError
        written.append(shard.index)
        return original(store_, shard, *rest)

    monkeypatch.setattr(run_module, "write_shard", failing)
    with pytest.raises(KilledError):
        import_activations(spec)
    assert store.head(key) is None, "no manifest before every shard is there"
    written.append(-1)
    import_activations(spec)
    assert written == [0, 1, 2, -1, *range(3, len(undisturbed.shards))]
    assert store.get(key) == expected


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small problems are fastest on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_fit_on_imported_rows_finds_the_planted_features(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")
    features_FD = unit_features(24, 16)
    x_ND = 7 * (
        planted_rows(9600, features_FD, active=2, noise=0.01) + np.linspace(-1, 1, 16, dtype=np.float32)
    )
    harvest = import_activations(spec_of(store, put_npy(store, "x", x_ND), rows_per_shard=2000))
    training = {"num_steps": 600, "batch_rows": 128, "learning_rate": 1e-2, "dead_after_rows": 3000}
    spec = FitSpec(
        root=store.url,
        harvest=harvest.harvest_id,
        target=AutoencoderTarget(kind="autoencoder", site="embedding.0"),
        name="imported",
        architecture=BatchTopKSpec(kind="batch_topk", num_latents=40, k=2),
        training=TrainingSpec.parse(training),
    )
    train_and_publish(FitJob(spec, version="1", fit_id="fit"))
    encoder, manifest = load_encoder(store, "imported@1")
    similarity = encoder.W_dec_FE @ torch.from_numpy(features_FD).T
    assert similarity.max(dim=0).values.mean() > 0.97
    assert manifest.metrics.explained_variance > 0.93
