"""Comparisons of dictionaries whose manifests are known."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fixtures.targets import autoencoder_target, transcoder_target
from thresher.cli import app
from thresher.contracts import paths
from thresher.contracts.errors import MissingArtifactError, SpecError
from thresher.contracts.manifests import DictionaryManifest, ReconstructionMetrics
from thresher.evaluation.pareto.plot import plot_svg
from thresher.evaluation.pareto.points import DictionaryPoint, read_points
from thresher.evaluation.pareto.table import table_lines
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import publish_manifest, put_file

SVG = "{http://www.w3.org/2000/svg}"
# version: L0, FVU, architecture
SWEEP = {
    "1": (8.0, 0.5, "topk"),
    "2": (16.0, 0.4, "topk"),
    "3": (16.0, 0.42, "jumprelu"),
    "4": (40.0, 0.2, "jumprelu"),
    "5": (64.0, 0.25, "topk"),
    "10": (128.0, 0.1, "topk"),
}
FRONT = ["sweep@1", "sweep@2", "sweep@4", "sweep@10"]


def publish(
    store: ObjectStore, name: str, version: str, l0: float, fvu: float, kind: str, **more: Any
) -> None:
    artifact = paths.dictionary(name, version)
    metrics = ReconstructionMetrics(
        explained_variance=1 - fvu, fvu=fvu, l0=l0, dead_fraction=0.125, num_rows=1000,
        relative_reconstruction_bias=0.95,
    )  # fmt: skip
    manifest = {
        "name": name,
        "version": version,
        "fit_id": version,
        "spec": {},
        "architecture": kind,
        "target": autoencoder_target("resid_post.1", "h", 4),
        "d_in": 4,
        "d_out": 4,
        "num_latents": 4096,
        "k": 1,
        "num_training_rows": 1_000_000,
        "metrics": metrics,
        "files": [put_file(store, f"{artifact}/sae_weights.safetensors", b"")],
        "code_version": "0",
    }
    publish_manifest(store, artifact, DictionaryManifest(**(manifest | more)))


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    store = open_store(f"file://{tmp_path}/store")
    for version, figures in SWEEP.items():
        publish(store, "sweep", version, *figures)
    store.put(f"{paths.dictionary('sweep', '11')}/training/claim.json", b"unfinished")
    return store


def test_the_front_is_what_nothing_beats(store: ObjectStore) -> None:
    points = read_points(store, ["sweep"])
    assert [point.dictionary for point in points] == [f"sweep@{version}" for version in SWEEP]
    assert [point.dictionary for point in points if point.on_front] == FRONT
    assert [(p.l0, p.fvu, p.architecture) for p in points] == list(SWEEP.values())


def test_equal_dictionaries_are_both_on_the_front(store: ObjectStore) -> None:
    publish(store, "twin", "1", *SWEEP["4"])
    on_front = [point.dictionary for point in read_points(store, ["sweep", "twin"]) if point.on_front]
    assert set(on_front) == {*FRONT, "twin@1"}


def test_names_and_versions_are_mixed_and_given_once(store: ObjectStore) -> None:
    points = read_points(store, ["sweep@4", "sweep@4", "sweep@1"])
    assert [point.dictionary for point in points] == ["sweep@1", "sweep@4"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"target": autoencoder_target("resid_post.1", "other", 4)},
            "resid_post.1 (autoencoder) of harvest other",
        ),
        (
            {"target": autoencoder_target("resid_post.2", "h", 4)},
            "resid_post.2 (autoencoder) of harvest h",
        ),
        (
            {"spec": {"training": {"holdout_split": "explain", "min_position": 3}}},
            "split explain, positions from 3",
        ),
        (
            {"target": transcoder_target("mlp_in.1", "mlp_out.1", "h", 4, 4)},
            "mlp_in.1->mlp_out.1 (transcoder) of harvest h",
        ),
    ],
)
def test_other_rows_are_another_comparison(store: ObjectStore, more: dict[str, Any], words: str) -> None:
    publish(store, "elsewhere", "1", 1.0, 0.01, "topk", **more)
    points = read_points(store, ["sweep", "elsewhere"])
    assert [point.dictionary for point in points if point.on_front] == [*FRONT, "elsewhere@1"]
    assert words in points[-1].measured_on
    assert sum("Measured on" in line for line in table_lines(points)) == 2


def test_the_table(store: ObjectStore) -> None:
    lines = list(table_lines(read_points(store, ["sweep@2", "sweep@3"])))
    assert lines == [
        "Measured on 1,000 rows: resid_post.1 (autoencoder) of harvest h, split report",
        "",
        "| dictionary | architecture | latents | rows trained on | L0 | FVU | without outliers | dead | gamma "
        "| front |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        "| sweep@2 | topk | 4,096 | 1,000,000 | 16.00 | 0.4000 |  | 12.50% | 0.9500 | * |",
        "| sweep@3 | jumprelu | 4,096 | 1,000,000 | 16.00 | 0.4200 |  | 12.50% | 0.9500 |  |",
    ]


def test_the_plot_has_every_point_in_its_place(store: ObjectStore) -> None:
    points = read_points(store, ["sweep"])
    root = ET.fromstring(plot_svg(points))
    circles = {
        circle.find(f"{SVG}title").text.split(" ")[0]: circle
        for circle in root.iter(f"{SVG}circle")
        if circle.find(f"{SVG}title") is not None
    }
    assert set(circles) == {point.dictionary for point in points}
    place = {name: (float(item.get("cx")), float(item.get("cy"))) for name, item in circles.items()}
    assert place["sweep@1"][0] < place["sweep@2"][0] == place["sweep@3"][0] < place["sweep@10"][0]
    assert place["sweep@10"][1] > place["sweep@4"][1] > place["sweep@1"][1], "svg counts from the top"
    # L0 is on a log scale: 8 to 16 and 64 to 128 are one octave each
    octave = place["sweep@2"][0] - place["sweep@1"][0]
    assert place["sweep@10"][0] - place["sweep@5"][0] == pytest.approx(octave, abs=0.15)
    assert [name for name, item in circles.items() if item.get("fill") != "#fff"] == FRONT
    (front,) = (path for path in root.iter(f"{SVG}path") if path.get("class") == "front")
    assert front.get("d").count("H") == len(FRONT) - 1
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"topk", "jumprelu", "sweep@10", "10", "100", "0.2"} <= set(texts)


def test_names_are_escaped_in_the_plot() -> None:
    point = DictionaryPoint(
        dictionary="a<b@1", architecture="<script>", num_latents=1, num_training_rows=1, l0=1.0, fvu=0.5,
        fvu_without_outliers=None, dead_fraction=0, relative_reconstruction_bias=None, num_rows=1, measured_on="x",
        on_front=True,
    )  # fmt: skip
    assert "<script>" not in plot_svg([point])
    assert ET.fromstring(plot_svg([point])) is not None


def test_what_is_not_there(store: ObjectStore) -> None:
    with pytest.raises(MissingArtifactError, match="nothing"):
        read_points(store, ["nothing"])
    with pytest.raises(MissingArtifactError):
        read_points(store, ["sweep@99"])
    with pytest.raises(SpecError):
        read_points(store, ["a/b"])


def test_the_command(store: ObjectStore, tmp_path: Path) -> None:
    svg = tmp_path / "front.svg"
    shown = CliRunner().invoke(app, ["compare", "sweep", "--root", store.url, "--svg", str(svg)])
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines() == list(table_lines(read_points(store, ["sweep"])))
    assert svg.read_text() == plot_svg(read_points(store, ["sweep"]))
    as_json = CliRunner().invoke(app, ["compare", "sweep@1", "--root", store.url, "--json"])
    (point,) = (DictionaryPoint.model_validate(item) for item in json.loads(as_json.output))
    assert (point.dictionary, point.on_front) == ("sweep@1", True)


def test_a_dictionary_is_inspected_by_its_name_and_version(store: ObjectStore) -> None:
    publish(store, "sweep", "20", *SWEEP["4"], spec={"training": {"batch_rows": 4096}}, fit_id="4")
    shown = CliRunner().invoke(app, ["inspect", "sweep@20", "--root", store.url])
    assert shown.exit_code == 0, shown.output
    assert "sweep@20 (fit 4)" in shown.output
    assert f"{'  training.batch_rows':<32} 4096" in shown.output.splitlines()
    assert "FVU                    0.2000, explained variance 0.8000" in shown.output
    assert (
        shown.output
        == CliRunner().invoke(app, ["inspect", "dictionaries/sweep/20", "--root", store.url]).output
    )
