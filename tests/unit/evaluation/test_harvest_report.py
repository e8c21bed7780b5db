"""The report of a harvest whose rows are known: dimension, linear step, sinks, error, runs."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fixtures.import_sources import put_npy
from thresher.activations.importer.run import import_activations
from thresher.activations.importer.spec import ImportSpec
from thresher.cli import app
from thresher.contracts import paths
from thresher.contracts.errors import IntegrityError, SpecError
from thresher.contracts.manifests import HarvestManifest
from thresher.evaluation.harvest_report import HarvestReport, layer_pairs, report_harvest
from thresher.evaluation.report_text import report_lines
from thresher.storage import ObjectStore, open_store

S, L, D, DIMENSION = 150, 20, 24, 4
SINK = 60
RUN = {
    "num_tokens": 3000,
    "num_rows": 6000,
    "bytes": 288000,
    "elapsed_s": 2.0,
    "tokens_per_s": 1500.0,
    "engine_wait_s": 1.0,
    "num_actors": 2,
    "failures": 1,
    "outcome": "complete",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ObjectStore:
    return open_store(f"file://{tmp_path_factory.mktemp('report')}")


@pytest.fixture(scope="module")
def manifest(store: ObjectStore) -> HarvestManifest:
    """Rows of 4 dimensions, at the next layer 0.8 linear in them; sinks at position 0 and in one row of 3."""
    rng = np.random.default_rng(0)
    x_SLD = rng.standard_normal((S, L, DIMENSION)) @ rng.standard_normal((DIMENSION, D))
    y_SLD = x_SLD + 0.5 * np.sqrt((x_SLD**2).mean()) * rng.standard_normal((S, L, D))
    for array in (x_SLD, y_SLD):
        array[:, 0] = SINK * rng.standard_normal(D)
        array[7, 3] = 2 * SINK
    tokens = np.tile(np.arange(L), (S, 1))
    data = {
        "root": store.url,
        "sites": {
            "resid_post.10": put_npy(store, "y", y_SLD.astype(np.float32)),
            "resid_post.9": put_npy(store, "x", x_SLD.astype(np.float32)),
        },
        "address": {"token_id": put_npy(store, "t", tokens)},
        "splits": {"fit": 0.8, "explain": 0, "report": 0.2},
        "rows_per_shard": 500,
    }
    return import_activations(ImportSpec.parse(data))


@pytest.fixture(scope="module")
def report(store: ObjectStore, manifest: HarvestManifest) -> HarvestReport:
    store.put(f"{paths.harvest_runs(paths.harvest(manifest.harvest_id))}/r.json", json.dumps(RUN).encode())
    return report_harvest(
        store, manifest.harvest_id, sample_rows=2000, token_string=lambda token: f"<{token}>"
    )


def test_dimension_and_linear_step_are_the_planted_ones(report: HarvestReport) -> None:
    dimension = report.sites["resid_post.9"].dimension
    assert dimension is not None
    assert dimension.two_nn == pytest.approx(DIMENSION, rel=0.15)
    assert dimension.participation_ratio is not None
    assert 2 < dimension.participation_ratio < 4.1
    [step] = report.steps
    assert (step.source, step.target) == ("resid_post.9", "resid_post.10"), "by number, not by name"
    assert step.linearity is not None
    assert step.linearity.r2 == pytest.approx(0.8, abs=0.03)
    assert step.linearity.r2_of_change == pytest.approx(0, abs=0.05), "the change is noise"
    assert report.sample_min_position == 1


def test_sinks_are_found_and_named(report: HarvestReport, manifest: HarvestManifest) -> None:
    site = report.sites["resid_post.9"]
    assert site.norms is not None
    assert site.norms.num_rows == S * L
    assert site.norms.outlier_share == pytest.approx((S + 1) / (S * L), rel=0.1)
    assert site.norms.quantiles["0.5"] < SINK
    first = site.largest[0]
    assert (first.position, first.token_id, first.token) == (3, 3, "<3>")
    assert first.norm == pytest.approx(2 * SINK * D**0.5, rel=1e-3)
    assert {row.position for row in site.largest[1:]} == {0}
    assert site.error.worst_row == manifest.sites["resid_post.9"].max_row_error > site.error.relative


def test_the_text_says_all_of_it(report: HarvestReport) -> None:
    text = "\n".join(report_lines(report))
    for words in (
        "none: imported",
        "x the median",
        "0 (15x), 3 (1x)",
        "0 '<0>' (15x)",
        "by TwoNN",
        "resid_post.9 > resid_post.10",
        "1,500 tokens/s",
        "1.0 s (25.0% of 2 actors' time)",
        "#" * 40,
    ):
        assert words in text
    assert all(line.isprintable() for line in text.splitlines())


def test_nothing_is_claimed_where_nothing_was_measured(store: ObjectStore, manifest: HarvestManifest) -> None:
    found = report_harvest(store, manifest.harvest_id, sample_rows=0)
    assert found.num_sample_rows == 0
    assert found.steps == []
    assert found.sites["resid_post.9"].dimension is None
    text = "\n".join(report_lines(found.model_copy(update={"runs": []})))
    assert "not recorded" in text
    assert "TwoNN" not in text
    with pytest.raises(SpecError, match="--sample"):
        report_harvest(store, manifest.harvest_id, sample_rows=-1)


def test_a_damaged_record_of_a_run_is_named(
    tmp_path: Path, manifest: HarvestManifest, store: ObjectStore
) -> None:
    other = open_store(f"file://{tmp_path}")
    artifact = paths.harvest(manifest.harvest_id)
    for info in store.list(artifact):
        other.put(info.key, store.get(info.key))
    other.put(f"{paths.harvest_runs(artifact)}/x.json", b"{}")
    with pytest.raises(IntegrityError, match=r"runs/x\.json"):
        report_harvest(other, manifest.harvest_id)


def test_the_command_prints_the_report_and_its_json(store: ObjectStore, manifest: HarvestManifest) -> None:
    arguments = ["inspect", f"activations/{manifest.harvest_id}", "--root", store.url, "--sample", "500"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert manifest.harvest_id in shown.output
    machine = CliRunner().invoke(app, [*arguments, "--json"])
    parsed = HarvestReport.model_validate_json(machine.output)
    assert parsed.num_rows == S * L
    assert parsed.num_sample_rows == 500


def test_pairs_are_of_one_kind() -> None:
    names = ["mlp_out.3", "resid_post.12", "resid_post.2", "attn_out.3", "resid_post.4"]
    assert list(layer_pairs(dict.fromkeys(names))) == [
        ("resid_post.2", "resid_post.4"),
        ("resid_post.4", "resid_post.12"),
    ]
