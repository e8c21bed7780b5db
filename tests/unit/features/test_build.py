"""The features artifact equals a brute-force reading of the codes, and is published whole or not at all.

Shapes: R rows, F latents.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.codes import PlantedCodes, plant, write_planted_dictionary, write_sparse_harvest
from fixtures.exemplar_reference import ExemplarReference
from thresher.contracts.errors import AlreadyExistsError, IntegrityError, SpecError
from thresher.contracts.manifests import FeaturesManifest, SplitRange
from thresher.contracts.schemas import EXEMPLARS
from thresher.features import build
from thresher.features.build import build_features
from thresher.features.spec import FeaturesSpec
from thresher.features.statistics import HISTOGRAM_EDGES
from thresher.runtime.model_identity import tokenizer_sha256
from thresher.storage import open_store
from thresher.storage.artifacts import file_fault

LENGTH, CONTEXT, MIN_POSITION, NUM_LATENTS = 11, 4, 1, 5
STARTS = [1, 5, 7]  # the last window is moved left until it is full
HARVEST = "5e1ec7ed"
W_DEC_FE = np.random.default_rng(8).standard_normal((NUM_LATENTS, 4)).astype(np.float32)


def random_codes(seed: int, num_sequences: int, vocabulary: int = 250) -> tuple[PlantedCodes, np.ndarray]:
    """Latents from silent (0) to firing on most tokens (4), with ties, and documents across sequences.

    The fewer tokens there are, the more windows are near-duplicates.
    """
    rng = np.random.default_rng(seed)
    num_rows, half = num_sequences * LENGTH, num_sequences // 2
    codes_RF = rng.integers(1, 9, (num_rows, NUM_LATENTS)).astype(np.float32) / 4
    codes_RF[rng.random(codes_RF.shape) >= np.array([0, 0.02, 0.1, 0.3, 0.7])] = 0
    split_of_row = np.arange(num_rows) // LENGTH >= half
    doc_ids = [f"{split}-{row // 7}" for row, split in enumerate(split_of_row.astype(int))]
    splits = [
        SplitRange(split="explain", start=0, stop=half),
        SplitRange(split="report", start=half, stop=num_sequences),
    ]
    token_ids = rng.integers(0, vocabulary, num_rows).astype(np.int32)
    return plant(codes_RF, token_ids, doc_ids, LENGTH, splits), codes_RF


def make_spec(root: str, tokenizer: Path, **changes: Any) -> FeaturesSpec:
    settings = {
        "root": root,
        "harvest": HARVEST,
        "tokenizer": str(tokenizer),
        "min_position": MIN_POSITION,
        "context_tokens": CONTEXT,
        "top_exemplars": 3,
        "quantile_exemplars": 4,
        "quantiles": 2,
        "random_exemplars": 3,
        "negatives": 2,
        "hard_negatives": 2,
        "neighbours": 2,
        "split_shares": {"explain": 0.4, "calibrate": 0.3, "select": 0.3},
        "output": None,
        "seed": 11,
        "too_rare_below": 3,
    }
    return FeaturesSpec.parse(settings | changes)


def built(
    root: str, planted: PlantedCodes, spec: FeaturesSpec, sequences_per_shard: int = 3
) -> FeaturesManifest:
    tokenizer_hash = tokenizer_sha256("tokenizer", spec.tokenizer)
    write_planted_dictionary(open_store(root), W_DEC_FE)
    write_sparse_harvest(
        open_store(root),
        planted,
        harvest_id=spec.harvest,
        sequences_per_shard=sequences_per_shard,
        batch_rows=9,
        tokenizer_sha256=tokenizer_hash,
    )
    return build_features(spec)


def read_exemplars(root: str, manifest: FeaturesManifest) -> list[dict[str, Any]]:
    folder = Path(root.removeprefix("file://"))
    return [row for entry in manifest.exemplars for row in pq.read_table(folder / entry.key).to_pylist()]


def read_stats(root: str, manifest: FeaturesManifest) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(
        Path(root.removeprefix("file://")) / manifest.stats.key
    ).to_pylist()
    return rows


def without(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key not in names} for row in rows]


@pytest.mark.slow
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_sequences=st.integers(2, 40),
    sequences_per_shard=st.integers(1, 9),
    features_per_part=st.integers(1, 6),
    vocabulary=st.sampled_from([3, 8, 250]),
)
def test_equal_to_brute_force(
    seed: int,
    num_sequences: int,
    sequences_per_shard: int,
    features_per_part: int,
    vocabulary: int,
    tokenizer_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("root").as_uri()
    spec = make_spec(root, tokenizer_folder)
    planted, codes_RF = random_codes(seed, num_sequences, vocabulary)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "FEATURES_PER_PART", features_per_part)
        manifest = built(root, planted, spec, sequences_per_shard)
    expected = ExemplarReference(planted, codes_RF, W_DEC_FE, spec, STARTS).exemplars()
    found = read_exemplars(root, manifest)
    assert without(found, "tokens") == without(expected, "number", "first_row")
    counted_RF = codes_RF.reshape(-1, LENGTH, NUM_LATENTS)[:, MIN_POSITION:].reshape(-1, NUM_LATENTS)
    stats = read_stats(root, manifest)
    assert [row["num_active"] for row in stats] == (counted_RF > 0).sum(axis=0).tolist()
    assert [row["density"] for row in stats] == (counted_RF > 0).mean(axis=0).tolist()
    assert sum(manifest.num_rows.values()) == len(counted_RF)


@pytest.fixture
def root(tmp_path: Path) -> str:
    return (tmp_path / "root").as_uri()


def test_states_tell_dead_and_too_rare_features(root: str, tokenizer_folder: Path) -> None:
    planted, codes_RF = random_codes(seed=1, num_sequences=96)
    codes_RF[:, 1] = 0
    codes_RF[[15, 600], 1] = 1.0  # one document in each split
    planted = plant(codes_RF, planted.token_ids, planted.doc_ids, LENGTH, planted.splits)
    stats = read_stats(root, built(root, planted, make_spec(root, tokenizer_folder)))
    assert [row["state"] for row in stats] == ["dead", "too_rare", "ok", "ok", "ok"]
    assert stats[0]["top_tokens"] == []


def test_a_feature_that_only_one_split_shows_is_too_rare(root: str, tokenizer_folder: Path) -> None:
    planted, codes_RF = random_codes(seed=1, num_sequences=24)
    codes_RF[12 * LENGTH :, 4] = 0
    planted = plant(codes_RF, planted.token_ids, planted.doc_ids, LENGTH, planted.splits)
    stats = read_stats(root, built(root, planted, make_spec(root, tokenizer_folder)))
    assert stats[4]["state"] == "too_rare"


def test_tables_carry_edges_tokens_and_the_contracts_schema(root: str, tokenizer_folder: Path) -> None:
    planted, _ = random_codes(seed=2, num_sequences=20)
    manifest = built(root, planted, make_spec(root, tokenizer_folder))
    folder = Path(root.removeprefix("file://"))
    stats = pq.read_table(folder / manifest.stats.key)
    assert json.loads(stats.schema.metadata[b"histogram_edges"]) == HISTOGRAM_EDGES.tolist()
    assert [sum(row["histogram"]) for row in stats.to_pylist()] == stats["num_active"].to_pylist()
    assert pq.read_table(folder / manifest.exemplars[0].key).schema.equals(EXEMPLARS)
    exemplars = read_exemplars(root, manifest)
    strongest = [
        row for row in exemplars if row["feature"] == 4 and row["split"] == "explain" and row["kind"] == "top"
    ]
    peaks = [row["tokens"][int(np.argmax(row["activations"]))] for row in strongest]
    assert stats["top_tokens"].to_pylist()[4] == list(dict.fromkeys(peaks))
    assert all(len(row["tokens"]) == CONTEXT for row in exemplars)


def test_the_same_spec_finds_what_is_made_and_another_is_refused(root: str, tokenizer_folder: Path) -> None:
    planted, _ = random_codes(seed=3, num_sequences=12)
    spec = make_spec(root, tokenizer_folder)
    manifest = built(root, planted, spec)
    stamp = (Path(root.removeprefix("file://")) / manifest.stats.key).stat().st_mtime_ns
    assert build_features(spec) == manifest
    assert (Path(root.removeprefix("file://")) / manifest.stats.key).stat().st_mtime_ns == stamp
    with pytest.raises(AlreadyExistsError, match=r"features/planted/1/c0c0.*Delete"):
        build_features(make_spec(root, tokenizer_folder, seed=12))


def test_an_interrupted_build_shows_nothing_and_resumes_to_the_same_bytes(
    root: str, tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted, _ = random_codes(seed=4, num_sequences=12)
    undisturbed = built(
        (tmp_path / "other").as_uri(), planted, make_spec((tmp_path / "other").as_uri(), tokenizer_folder)
    )
    spec = make_spec(root, tokenizer_folder)
    monkeypatch.setattr(build, "_stats", interrupt)
    with pytest.raises(KeyboardInterrupt):
        built(root, planted, spec)
    monkeypatch.undo()
    store = open_store(root)
    assert store.head("features/planted/1/c0c0/exemplars/part-000000.parquet") is not None
    assert store.head("features/planted/1/c0c0/manifest.json") is None
    with pytest.raises(AlreadyExistsError, match="not finished"):
        build_features(make_spec(root, tokenizer_folder, negatives=1))
    resumed = build_features(spec)
    assert resumed == undisturbed
    assert [file_fault(store, entry) for entry in (resumed.stats, *resumed.exemplars)] == [None, None]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_document_in_two_splits_is_refused(root: str, tokenizer_folder: Path) -> None:
    planted, codes_RF = random_codes(seed=5, num_sequences=12)
    doc_ids = [f"{row // 7 % 3}" for row in range(len(planted.doc_ids))]
    shared = plant(codes_RF, planted.token_ids, doc_ids, LENGTH, planted.splits)
    with pytest.raises(IntegrityError, match="two splits"):
        built(root, shared, make_spec(root, tokenizer_folder))
    assert open_store(root).head("features/planted/1/c0c0/manifest.json") is None


def test_faults_of_the_spec_are_told_before_anything_is_written(root: str, tokenizer_folder: Path) -> None:
    planted, codes_RF = random_codes(seed=6, num_sequences=12)
    explain_alone = plant(codes_RF, planted.token_ids, planted.doc_ids, LENGTH, planted.splits[:1])
    with pytest.raises(SpecError, match="lacks the split report"):
        built(root, explain_alone, make_spec(root, tokenizer_folder, harvest="explain-alone"))
    with pytest.raises(SpecError, match="1 to 10"):
        built(root, planted, make_spec(root, tokenizer_folder, context_tokens=11))
    with pytest.raises(SpecError, match="multiples of quantiles"):
        make_spec(root, tokenizer_folder, quantile_exemplars=5)
    assert not list(open_store(root).list("features/"))
