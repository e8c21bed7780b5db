"""The report of a harvest: what it is, how its rows are distributed, what storing them cost, how they were made.

Shape suffixes: N rows of the sample, D width of a site.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

import numpy as np

from thresher.contracts import paths
from thresher.contracts.errors import SpecError
from thresher.contracts.manifests import (
    EngineProvenance,
    HarvestManifest,
    ModelIdentity,
    Record,
    SplitRange,
)
from thresher.contracts.row_selection import RowSelection
from thresher.evaluation.intrinsic_dimension import IntrinsicDimension, intrinsic_dimension
from thresher.evaluation.linearity import Linearity, linearity
from thresher.evaluation.norms import OUTLIER_FACTOR, NormDistribution, norm_distribution
from thresher.evaluation.outliers import AddressedOutlier, largest_rows
from thresher.evaluation.row_sample import RowSample, draw_sample
from thresher.evaluation.run_figures import RunFigures, read_run_figures
from thresher.evaluation.stored_rows import FloatArray
from thresher.storage import ObjectStore
from thresher.storage.artifacts import read_record

DEFAULT_SAMPLE_ROWS = 4096


class EncodingError(Record):
    relative: float
    """sqrt(sum |x - stored(x)|^2 / sum |x|^2), of the shard where it is largest."""
    worst_row: float
    """Largest |x - stored(x)| / |x| of a row."""
    worst_shard: int
    """Where that row lies."""


class SiteReport(Record):
    width: int
    num_bytes: int
    norms: NormDistribution | None
    """Null where the harvest did not count them."""
    largest: list[AddressedOutlier]
    error: EncodingError
    dimension: IntrinsicDimension | None
    """Of the sample, without outliers; null without a sample."""


class LayerStep(Record):
    """From one site to the next of its kind."""

    source: str
    target: str
    linearity: Linearity | None
    """Null where the sample is too small."""


class HarvestReport(Record):
    harvest_id: str
    model: ModelIdentity | None
    corpus_id: str | None
    provenance: list[EngineProvenance]
    encoding: str
    dictionary: str | None
    selection: RowSelection
    splits: list[SplitRange]
    sequence_length: int
    code_version: str
    num_rows: int
    num_shards: int
    num_bytes: int
    sites: dict[str, SiteReport]
    num_sample_rows: int
    """Rows that dimension and linearity were measured on; 0 for sparse codes."""
    sample_min_position: int
    seed: int
    steps: list[LayerStep]
    runs: list[RunFigures]
    """Empty where none was recorded."""


def report_harvest(
    store: ObjectStore,
    harvest_id: str,
    *,
    sample_rows: int = DEFAULT_SAMPLE_ROWS,
    seed: int = 0,
    token_string: Callable[[int], str] | None = None,
) -> HarvestReport:
    """Report on a whole harvest: from its manifest, a sample of its rows and the records of its runs.

    Args:
        store: where it lies.
        harvest_id: its id.
        sample_rows: rows to measure dimension and linearity on; 0 leaves these out.
        seed: of the sample.
        token_string: text of a token.

    Raises:
        MissingArtifactError: there is no such harvest.
        IntegrityError: the manifest, a shard or a record of a run is damaged.
    """
    if sample_rows < 0:
        raise SpecError("--sample", sample_rows, allowed="0 or more", mend="Give a number of rows.")
    manifest = read_record(store, paths.manifest(paths.harvest(harvest_id)), HarvestManifest)
    has_sample = sample_rows > 0 and manifest.encoding != "sparse"
    sample = draw_sample(store, manifest, sample_rows, seed) if has_sample else None
    sites = {site: _site_report(store, manifest, site, sample, token_string) for site in manifest.sites}
    return HarvestReport(
        harvest_id=manifest.harvest_id,
        model=manifest.model,
        corpus_id=manifest.corpus_id,
        provenance=manifest.provenance,
        encoding=manifest.encoding,
        dictionary=str(manifest.dictionary) if manifest.dictionary else None,
        selection=manifest.selection,
        splits=manifest.splits,
        sequence_length=manifest.sequence_length,
        code_version=manifest.code_version,
        num_rows=manifest.num_rows,
        num_shards=len(manifest.shards),
        num_bytes=sum(site.num_bytes for site in sites.values())
        + sum(shard.rows.size for shard in manifest.shards),
        sites=sites,
        num_sample_rows=len(sample) if sample else 0,
        sample_min_position=sample.min_position if sample else 0,
        seed=seed,
        steps=list(_steps(sample)) if sample else [],
        runs=read_run_figures(store, harvest_id),
    )


def _site_report(
    store: ObjectStore,
    manifest: HarvestManifest,
    site: str,
    sample: RowSample | None,
    token_string: Callable[[int], str] | None,
) -> SiteReport:
    files = [shard.sites[site] for shard in manifest.shards]
    counts: dict[int, int] = {}
    for file in files:
        for index, count in file.norm_counts.items():
            counts[index] = counts.get(index, 0) + count
    worst = max(manifest.shards, key=lambda shard: shard.sites[site].max_row_error)
    x_ND = sample.x_by_site[site] if sample else None
    return SiteReport(
        width=manifest.sites[site].width,
        num_bytes=sum(file.size for file in files),
        norms=norm_distribution(counts, manifest.num_rows),
        largest=largest_rows(store, manifest, site, token_string),
        error=EncodingError(
            relative=max(file.relative_error for file in files),
            worst_row=worst.sites[site].max_row_error,
            worst_shard=worst.index,
        ),
        dimension=None if x_ND is None else intrinsic_dimension(x_ND[inliers(x_ND)]),
    )


def inliers(x_ND: FloatArray) -> np.ndarray:
    """Rows of at most 8 times the median norm: a few attention sinks would otherwise be all the variance."""
    norms_N = np.linalg.norm(x_ND, axis=1)
    return np.asarray(norms_N <= OUTLIER_FACTOR * np.median(norms_N))


def _steps(sample: RowSample) -> Iterator[LayerStep]:
    for source, target in layer_pairs(sample.x_by_site):
        x_ND, y_NE = sample.x_by_site[source], sample.x_by_site[target]
        kept = inliers(x_ND) & inliers(y_NE)
        yield LayerStep(source=source, target=target, linearity=linearity(x_ND[kept], y_NE[kept]))


def layer_pairs(sites: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Each site with the next of its kind, by number."""
    named = sorted((kind, int(number)) for kind, _, number in (site.partition(".") for site in sites))
    for (kind, number), (next_kind, next_number) in pairwise(named):
        if kind == next_kind:
            yield f"{kind}.{number}", f"{kind}.{next_number}"
