"""What the command shows of artifacts and of the catalog."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from thresher.catalog import open_catalog
from thresher.catalog.search import search
from thresher.catalog.views import Feature, Label
from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import DictionaryManifest, EvaluationManifest, HarvestManifest
from thresher.contracts.names import parse_reference
from thresher.evaluation.dictionary_text import dictionary_lines
from thresher.evaluation.harvest_report import report_harvest
from thresher.evaluation.pareto.plot import plot_svg
from thresher.evaluation.pareto.points import read_points
from thresher.evaluation.pareto.table import table_lines
from thresher.evaluation.report_text import report_lines
from thresher.evaluation.splice.table import evaluation_lines
from thresher.pipelines.cataloguing import catalog_url
from thresher.release.folder import verify_folder
from thresher.release.inspect import inspect
from thresher.release.verify import read_manifest, verify
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import read_record


def verify_anywhere(artifact: str, root: str | None) -> list[str]:
    """The bad files of a pulled folder, if there is one of that path, else of an artifact under the root."""
    if (Path(artifact) / "manifest.json").is_file():
        return verify_folder(Path(artifact))
    if root is None:
        raise SpecError("root", root, mend="Give --root or THRESHER_ROOT, or the path of a pulled folder.")
    return verify(open_store(root), artifact)


def canary(artifact: str, root: str | None, model: str, num_sequences: int) -> tuple[list[str], bool]:
    """What comparing a harvest with its model showed, and whether they agree at every site."""
    from thresher.evaluation.canary import check_canary

    kind, _, harvest_id = artifact.strip("/").partition("/")
    if kind != "activations" or root is None:
        raise SpecError("--model", model, mend="A model is compared with a harvest: verify activations/ID.")
    found = check_canary(open_store(root), harvest_id, model, num_sequences=num_sequences)
    return [line for site in found for line in site.lines()], all(site.agrees for site in found)


def inspect_lines(
    artifact: str, root: str, *, sample_rows: int, tokenizer: str | None, as_json: bool
) -> Iterator[str]:
    """What an artifact is: the report of a harvest, how good a dictionary is, the manifest of anything else."""
    store = open_store(root)
    if "@" in artifact:
        artifact = paths.dictionary(*parse_reference("artifact", artifact))
    kind, _, harvest_id = artifact.strip("/").partition("/")
    if kind == "activations":
        report = report_harvest(
            store,
            harvest_id,
            sample_rows=sample_rows,
            token_string=_token_strings(store, harvest_id, tokenizer),
        )
        yield from [report.model_dump_json(indent=1)] if as_json else report_lines(report)
        return
    manifest = read_manifest(store, artifact)
    if as_json:
        yield manifest.model_dump_json(indent=1)
    elif isinstance(manifest, DictionaryManifest):
        yield from dictionary_lines(manifest)
        yield from ("", "spec")
        rows = inspect(store, artifact)
        yield from (
            f"  {name.removeprefix('spec.'):<30} {value}" for name, value in rows if name.startswith("spec.")
        )
    elif isinstance(manifest, EvaluationManifest):
        yield from evaluation_lines(manifest)
    else:
        yield from (f"{name:<32} {value}" for name, value in inspect(store, artifact))


def compare_lines(names: Sequence[str], root: str, *, as_json: bool, svg: Path | None) -> Iterator[str]:
    """Dictionaries by held-out FVU and L0, as Markdown or JSON; `svg` is written first."""
    points = read_points(open_store(root), names)
    if svg is not None:
        svg.write_text(plot_svg(points))
    if as_json:
        yield json.dumps([point.model_dump(mode="json") for point in points], indent=1)
    else:
        yield from table_lines(points)


def _token_strings(store: ObjectStore, harvest_id: str, folder: str | None) -> Callable[[int], str] | None:
    if folder is None:
        return None
    from thresher.features.token_strings import open_token_strings

    manifest = read_record(store, paths.manifest(paths.harvest(harvest_id)), HarvestManifest)
    if manifest.model is None:
        raise SpecError("--tokenizer", folder, mend="Imported rows have no tokenizer: leave it out.")
    strings = open_token_strings(folder, manifest.model.tokenizer_sha256)
    return lambda token_id: str(strings.table(np.array([token_id], np.int32))[token_id])


def search_lines(query: str, dictionary: str | None, limit: int, url: str | None) -> Iterator[str]:
    """One line a feature found, best match first."""
    catalog = open_catalog(url or catalog_url())
    try:
        page = search(catalog, query, dictionary=dictionary, limit=limit)
    finally:
        catalog.close()
    for feature in page.features:
        yield _line(feature)
    yield f"{page.total} found"


def _line(feature: Feature) -> str:
    label = feature.label
    assert label is not None, "a search finds labels"
    scores = ", ".join(_scores(label))
    return (
        f"{feature.dictionary} {feature.feature:>6}  {label.text}  ({scores}; density {feature.density:.2%})"
    )


def _scores(label: Label) -> Iterator[str]:
    for score in label.scores:
        if not score.shuffled and score.value is not None:
            interval = "" if score.ci_low is None else f" [{score.ci_low:.2f}, {score.ci_high:.2f}]"
            mark = (
                "" if score.qualified else ", unqualified" if score.qualified is False else ", untried scorer"
            )
            yield f"{score.score_type} {score.value:.2f}{interval}{mark}"
