"""The canary passes what the model gives, and names what it does not give."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from fixtures.harvests import write_harvest
from fixtures.model_harvests import (
    LAYERS,
    VOCABULARY,
    as_codes,
    save_tiny_model,
    with_rows_reordered,
    with_rows_table,
    write_model_harvest,
)
from thresher.cli import app
from thresher.contracts.errors import IntegrityError, SpecError
from thresher.contracts.manifests import HarvestManifest
from thresher.evaluation.canary import check_canary
from thresher.evaluation.canary_errors import code_errors
from thresher.evaluation.canary_sample import draw_sequences
from thresher.evaluation.harvest_report import report_harvest
from thresher.evaluation.report_text import report_lines
from thresher.harvest.codes_encoding import CodesEncoding
from thresher.latents.encoder import SparseEncoder
from thresher.release.verify import verify
from thresher.storage import ObjectStore, open_store

S, L = 12, 16
TOKEN_IDS_SL = np.random.default_rng(0).integers(0, VOCABULARY, (S, L))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(f"file://{tmp_path}/store")


def swapped(store: ObjectStore, manifest: HarvestManifest, one: int, other: int) -> HarvestManifest:
    """Two rows of the middle site's second shard (sequences 4 to 7) in each other's place."""
    order = np.arange(4 * L)
    order[[one, other]] = order[[other, one]]
    return with_rows_reordered(store, manifest, "resid_pre.1", 1, order.tolist())


@pytest.mark.parametrize(
    ("dtype", "encoding"),
    [(torch.float32, "float16"), (torch.float32, "bfloat16"), (torch.bfloat16, "bfloat16")],
    ids=str,
)
def test_what_the_model_gives_agrees_well_within_the_tolerance(
    store: ObjectStore, model: Path, dtype: torch.dtype, encoding: str
) -> None:
    write_model_harvest(store, model, TOKEN_IDS_SL, dtype=dtype, encoding=encoding)
    found = check_canary(store, "harvest", str(model))
    assert [site.site for site in found] == [f"resid_pre.{layer}" for layer in range(LAYERS)]
    for site in found:
        assert site.agrees, list(site.lines())
        assert site.num_rows == 8 * L
        assert 0 < site.median < 0.02
        assert site.worst.error < site.worst.allowed < 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_two_swapped_rows_are_named_though_every_checksum_is_right(
    store: ObjectStore, model: Path, dtype: torch.dtype
) -> None:
    manifest = write_model_harvest(store, model, TOKEN_IDS_SL, dtype=dtype)
    swapped(store, manifest, one=L + 3, other=2 * L + 5)
    assert verify(store, "activations/harvest") == []
    found = {site.site: site for site in check_canary(store, "harvest", str(model), num_sequences=S)}
    bad = found.pop("resid_pre.1")
    assert not bad.agrees
    assert {(fault.sequence, fault.position) for fault in bad.faults} == {(5, 3), (6, 5)}
    assert bad.median < bad.median_allowed, "all other rows agree"
    assert all(site.agrees for site in found.values())


def test_rows_shifted_by_a_position_or_filed_under_other_tokens(store: ObjectStore, model: Path) -> None:
    manifest = write_model_harvest(store, model, TOKEN_IDS_SL)
    shifted = with_rows_reordered(store, manifest, "resid_pre.2", 0, np.roll(np.arange(4 * L), 1).tolist())
    [bad] = [site for site in check_canary(store, "harvest", str(model), num_sequences=S) if not site.agrees]
    assert bad.site == "resid_pre.2"
    table = pq.read_table(io.BytesIO(store.get(shifted.shards[2].rows.key)))
    tokens = table["token_id"].to_numpy().copy()
    tokens[L + 2] += 1
    column = table.schema.get_field_index("token_id")
    with_rows_table(store, manifest, 2, table.set_column(column, table.schema.field(column), [tokens]))
    with pytest.raises(IntegrityError, match=rf"sequence 9 position 2 under token {tokens[L + 2]}"):
        check_canary(store, "harvest", str(model), num_sequences=S)


def test_another_model_or_none_is_refused(store: ObjectStore, model: Path, tmp_path: Path) -> None:
    manifest = write_model_harvest(store, model, TOKEN_IDS_SL)
    other = save_tiny_model(tmp_path / "other", seed=1)
    with pytest.raises(SpecError, match="whose weights has the sha256"):
        check_canary(store, "harvest", str(other))
    assert manifest.model is not None
    rows = np.ones((32, 4), np.float32)
    imported = write_harvest(
        store, {"e.0": rows}, sequence_length=1, splits={"fit": 32}, harvest_id="imported"
    )
    from fixtures.model_harvests import overwrite

    overwrite(store, imported.model_copy(update={"model": None, "corpus_id": None}))
    with pytest.raises(SpecError, match="Imported"):
        check_canary(store, "imported", str(model))


def test_sequences_are_spread_over_shards(store: ObjectStore) -> None:
    rows = np.ones((S, 4), np.float32)
    manifest = write_harvest(
        store, {"e.0": rows}, sequence_length=1, splits={"fit": S}, sequences_per_shard=4
    )
    for seed in range(5):
        drawn = draw_sequences(manifest, 5, seed)
        assert len(set(drawn.tolist())) == 5
        assert np.bincount(drawn // 4).min() >= 1
    assert draw_sequences(manifest, 100, 0).tolist() == list(range(S))
    assert len({tuple(draw_sequences(manifest, 3, seed).tolist()) for seed in range(9)}) > 1


def test_the_command_exits_with_1_and_names_the_row(store: ObjectStore, model: Path) -> None:
    manifest = write_model_harvest(store, model, TOKEN_IDS_SL)
    arguments = [
        "verify",
        "activations/harvest",
        "--root",
        store.url,
        "--model",
        str(model),
        "--sequences",
        "12",
    ]
    good = CliRunner().invoke(app, arguments)
    assert (good.exit_code, good.output.count(": agrees with")) == (0, LAYERS), good.output
    swapped(store, manifest, one=3, other=7)
    bad = CliRunner().invoke(app, arguments)
    assert bad.exit_code == 1
    assert "resid_pre.1: DISAGREES" in bad.output
    assert "resid_pre.1: sequence 4 position 3 is off by" in bad.output
    assert "every file matches its checksum" in bad.output


@pytest.fixture(params=[None, 12], ids=["jumprelu", "topk"])
def encoder(request: pytest.FixtureRequest) -> SparseEncoder:
    generator = torch.Generator().manual_seed(0)
    W_enc_DF = torch.randn(32, 128, generator=generator)
    return SparseEncoder(
        W_enc_DF,
        torch.randn(128, generator=generator),
        W_enc_DF.T.contiguous(),
        torch.randn(32, generator=generator),
        torch.full((128,), 6.0 if request.param is None else 0.0),
        k=request.param,
    )


def test_codes_of_the_same_rows_differ_by_no_more_than_the_rows(encoder: SparseEncoder) -> None:
    """Latents at their threshold flip and count for no more than it takes to flip them."""
    rng = np.random.default_rng(0)
    x_ND = rng.standard_normal((700, 32)).astype(np.float32)
    noise_ND = rng.standard_normal((700, 32)).astype(np.float32)
    noise_ND *= (0.01 * np.linalg.norm(x_ND, axis=1) / np.linalg.norm(noise_ND, axis=1))[:, None]
    encoding = CodesEncoding(encoder)

    def table_of(rows_ND: np.ndarray) -> object:
        import pyarrow as pa

        rows = encoding.encode(torch.from_numpy(rows_ND))
        return pa.Table.from_batches([encoding.record_batch([rows])])

    exact, disturbed = table_of(x_ND), table_of(x_ND + noise_ND)
    flips = sum(
        a != b for a, b in zip(exact["latents"].to_pylist(), disturbed["latents"].to_pylist(), strict=True)
    )
    assert flips > 50, "the threshold is where many latents are"
    assert code_errors(exact, x_ND, encoder).max() < 1e-5
    errors_N = code_errors(disturbed, x_ND, encoder)
    assert errors_N.max() <= 0.01 * 1.001
    assert np.median(errors_N) > 0.002, "and is seen for what it is"
    assert np.median(code_errors(exact, x_ND[::-1].copy(), encoder)) > 0.3


def test_codes_of_a_sparse_harvest_are_compared_and_swapped_ones_named(
    store: ObjectStore, model: Path, encoder: SparseEncoder
) -> None:
    dense = write_model_harvest(store, model, TOKEN_IDS_SL)
    sparse = as_codes(store, dense, "resid_pre.1", encoder)
    [good] = check_canary(store, "harvest", str(model))
    assert good.agrees, list(good.lines())
    assert good.median > 0, "codes were made of rows rounded to float16"
    swapped(store, sparse, one=L + 3, other=2 * L + 5)
    [bad] = check_canary(store, "harvest", str(model), num_sequences=S)
    assert {(fault.sequence, fault.position) for fault in bad.faults} == {(5, 3), (6, 5)}
    lines = "\n".join(report_lines(report_harvest(store, "harvest")))
    assert "sparse by codes@1" in lines
    assert "codes are stored as computed" in lines
