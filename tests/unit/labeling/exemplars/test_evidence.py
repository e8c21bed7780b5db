"""What the features artifact holds of a feature comes back whole, and of the wanted features alone."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fixtures.exemplars import CORPUS_ID, DEAD, NAME, VERSION
from thresher.contracts import paths
from thresher.contracts.exemplars import EXEMPLAR_SPLITS
from thresher.contracts.manifests import FeaturesManifest
from thresher.contracts.schemas import OUTPUT_TOKENS
from thresher.labeling.exemplars.book import ExemplarBook
from thresher.labeling.exemplars.evidence import OutputToken
from thresher.storage import ObjectStore
from thresher.storage.artifacts import put_file, read_record


@pytest.fixture
def manifest(planted_store) -> FeaturesManifest:
    key = paths.manifest(paths.features(NAME, VERSION, CORPUS_ID))
    return read_record(planted_store, key, FeaturesManifest)


def with_output_tokens(
    store: ObjectStore, manifest: FeaturesManifest, rows: list[tuple[int, str, int, str]]
) -> FeaturesManifest:
    """Rows of (feature, kind, rank, token); the token's id is its rank, its value ten times that."""
    table = pa.Table.from_pylist(
        [
            {"feature": f, "kind": k, "rank": r, "token_id": r, "token": t, "value": 10.0 * r}
            for f, k, r, t in rows
        ],
        schema=OUTPUT_TOKENS,
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    entry = put_file(store, "features/output_tokens.parquet", sink.getvalue())
    return manifest.model_copy(update={"output_tokens": entry})


def test_evidence_holds_what_the_book_holds(planted_store, manifest) -> None:
    book = ExemplarBook(planted_store, manifest, [3, 5, DEAD])
    evidence = book.evidence(3)
    for split in EXEMPLAR_SPLITS:
        places = [(item.doc_id, item.kind, item.rank) for item in evidence.of(split)]
        assert places == [(item.doc_id, item.kind, item.rank) for item in book.of(3, split)]
    assert {item.kind for item in evidence.of("explain", ["top"])} == {"top"}
    assert evidence.density == pytest.approx(300 / 20_000)
    dead = book.evidence(DEAD)
    assert dead.density == 0
    assert all(dead.of(split) == [] for split in EXEMPLAR_SPLITS)


def test_output_tokens_are_in_order_of_rank_and_of_the_wanted_features_alone(planted_store, manifest) -> None:
    rows = [
        (3, "promoted", 1, " b"),
        (4, "promoted", 0, " x"),
        (3, "promoted", 0, " a"),
        (3, "suppressed", 0, "c"),
    ]
    book = ExemplarBook(planted_store, with_output_tokens(planted_store, manifest, rows), [3, 5])
    assert book.evidence(3).output_tokens == {
        "promoted": (OutputToken(0, " a", 0.0), OutputToken(1, " b", 10.0)),
        "suppressed": (OutputToken(0, "c", 0.0),),
    }
    assert book.evidence(5).output_tokens == {}


def test_an_artifact_without_an_output_side_has_none(planted_store, manifest) -> None:
    without = manifest.model_copy(update={"output_tokens": None})
    assert ExemplarBook(planted_store, without, [3]).evidence(3).output_tokens == {}
