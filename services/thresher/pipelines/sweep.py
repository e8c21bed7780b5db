"""A sweep and what people want of it at the end: its dictionaries in the catalog, compared in a table and a plot."""

import sys

from thresher import __version__
from thresher.contracts import paths
from thresher.contracts.ids import content_id
from thresher.contracts.manifests import DictionaryManifest, SweepManifest
from thresher.dictionary.sweep.run import sweep
from thresher.dictionary.sweep.spec import SweepSpec
from thresher.evaluation.pareto.plot import plot_svg
from thresher.evaluation.pareto.points import read_points
from thresher.evaluation.pareto.table import table_lines
from thresher.pipelines.cataloguing import catalogue_dictionary
from thresher.storage import ObjectStore, open_store
from thresher.storage.artifacts import find_record, publish_manifest, put_file


def run_sweep(spec: SweepSpec) -> SweepManifest:
    """Fit the dictionaries, or find them fitted, and compare them; raises as sweep does."""
    store = open_store(spec.root)
    made = sweep(spec)
    for manifest in made:
        catalogue_dictionary(manifest)
    return _compare(store, spec, made)


def _compare(store: ObjectStore, spec: SweepSpec, made: list[DictionaryManifest]) -> SweepManifest:
    sweep_id = content_id("sweep", {"fits": [manifest.fit_id for manifest in made]})
    artifact = paths.sweep(sweep_id)
    found = find_record(store, paths.manifest(artifact), SweepManifest)
    points = read_points(store, [str(manifest.ref()) for manifest in made])
    table = "\n".join(table_lines(points)) + "\n"
    print(table, end="", file=sys.stderr)
    if found is not None:
        return found
    manifest = SweepManifest(
        sweep_id=sweep_id,
        spec=spec.identity(),
        dictionaries=[manifest.ref() for manifest in made],
        files=[
            put_file(store, f"{artifact}/pareto.md", table.encode()),
            put_file(store, f"{artifact}/pareto.svg", plot_svg(points).encode()),
        ],
        code_version=__version__,
    )
    return publish_manifest(store, artifact, manifest)
