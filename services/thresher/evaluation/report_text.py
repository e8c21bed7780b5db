"""The report of a harvest in lines for people."""

from collections import Counter
from collections.abc import Iterator

from thresher.evaluation.harvest_report import HarvestReport, LayerStep, SiteReport
from thresher.evaluation.norms import OUTLIER_FACTOR, NormDistribution
from thresher.evaluation.outliers import AddressedOutlier
from thresher.evaluation.run_figures import RunFigures

BAR_WIDTH = 40
NAME_WIDTH = 24


def report_lines(report: HarvestReport) -> Iterator[str]:
    """All of the report, section by section."""
    yield from _provenance(report)
    for name, site in report.sites.items():
        yield ""
        yield f"{name}  ({site.width:,} wide, {site.num_bytes:,} bytes)"
        yield from _site(site, is_sparse=report.encoding == "sparse")
    if report.num_sample_rows:
        yield ""
        yield from _steps(report)
    yield ""
    yield from _runs(report.runs)


def _line(name: str, value: object, indent: int = 0) -> str:
    return f"{' ' * indent}{name:<{NAME_WIDTH - indent}} {value}"


def _provenance(report: HarvestReport) -> Iterator[str]:
    model = report.model
    yield _line("harvest", report.harvest_id)
    if model is None:
        yield _line("model", "none: imported")
    else:
        shape = f"{model.architecture}, {model.num_layers} layers of {model.d_model}"
        yield _line("model", f"{model.name} ({shape}; weights {model.weights_sha256[:12]})")
    for engine in report.provenance:
        runner = f"{engine.model_runner} runner, " if engine.model_runner != "none" else ""
        yield _line(
            "made by",
            f"{engine.engine} {engine.engine_version}, {runner}{engine.dtype}, torch {engine.torch_version}",
        )
    yield _line("code version", report.code_version)
    yield _line("corpus", report.corpus_id or "none: imported")
    yield _line("encoding", report.encoding + (f" by {report.dictionary}" if report.dictionary else ""))
    chosen = report.selection.model_dump(mode="json", exclude_defaults=True)
    yield _line("rows kept", ", ".join(f"{key} {value}" for key, value in chosen.items()) or "all")
    spans = [f"{item.split} {item.stop - item.start:,}" for item in report.splits]
    yield _line("sequences", f"{', '.join(spans)}; {report.sequence_length:,} positions each")
    yield _line("rows", f"{report.num_rows:,} a site, in {report.num_shards:,} shards")
    yield _line("bytes", f"{report.num_bytes:,}")


def _site(site: SiteReport, *, is_sparse: bool) -> Iterator[str]:
    if site.norms is None:
        yield _line("norms", "not recorded", 2)
    else:
        yield from _norms(site.norms)
    yield from _largest(site.largest)
    if is_sparse:
        yield _line("encoding error", "none: codes are stored as computed", 2)
    else:
        error = site.error
        worst = f"worst row {error.worst_row:.3g} in shard {error.worst_shard}"
        yield _line("encoding error", f"{error.relative:.3g} relative, {worst}", 2)
    if site.dimension is not None:
        figures = site.dimension
        two_nn = "undefined" if figures.two_nn is None else f"{figures.two_nn:.1f} by TwoNN"
        ratio = (
            ""
            if figures.participation_ratio is None
            else f", participation ratio {figures.participation_ratio:.1f}"
        )
        yield _line("intrinsic dimension", f"{two_nn}{ratio}, from {figures.num_rows:,} rows", 2)


def _norms(norms: NormDistribution) -> Iterator[str]:
    quantiles = ", ".join(f"{float(level):.0%} {value:.4g}" for level, value in norms.quantiles.items())
    yield _line("norm quantiles", quantiles, 2)
    yield _line("outliers", f"{norms.outlier_share:.3%} of rows above {OUTLIER_FACTOR:g} x the median", 2)
    if norms.num_zero_rows:
        yield _line("rows of norm 0", f"{norms.num_zero_rows:,}", 2)
    largest = max(item.num_rows for item in norms.histogram)
    for item in norms.histogram:
        bar = "#" * -(-BAR_WIDTH * item.num_rows // largest)
        yield f"  {item.low:>10.4g} to {item.high:<10.4g} {item.num_rows:>12,} {bar}".rstrip()


def _largest(rows: list[AddressedOutlier]) -> Iterator[str]:
    if not rows:
        yield _line("largest rows", "not recorded", 2)
        return
    positions = Counter(row.position for row in rows).most_common(5)
    tokens = Counter(_token(row) for row in rows).most_common(5)
    yield _line("largest rows", f"{rows[0].norm:.4g} to {rows[-1].norm:.4g}, the {len(rows)} largest", 2)
    yield _line("at positions", ", ".join(f"{position} ({count}x)" for position, count in positions), 2)
    yield _line("of tokens", ", ".join(f"{token} ({count}x)" for token, count in tokens), 2)
    first = rows[0]
    place = f"sequence {first.sequence}, position {first.position}, document {first.doc_id!r}"
    yield _line("the largest", f"{first.norm:.4g} at {place}", 2)


def _token(row: AddressedOutlier) -> str:
    if row.token_id < 0:
        return "none"
    # A token is anyone's text: repr keeps line ends and terminal controls out of the report.
    return str(row.token_id) if row.token is None else f"{row.token_id} {row.token!r}"


def _steps(report: HarvestReport) -> Iterator[str]:
    first = f", positions from {report.sample_min_position} on" if report.sample_min_position else ""
    yield f"linear maps between layers  (sample of {report.num_sample_rows:,} rows{first}, seed {report.seed})"
    if not report.steps:
        yield "  no two sites are of one kind"
    for step in report.steps:
        yield _line(f"{step.source} > {step.target}", _linearity(step), 2)


def _linearity(step: LayerStep) -> str:
    figures = step.linearity
    if figures is None:
        return "too few rows"
    change = "" if figures.r2_of_change is None else f", of the change {figures.r2_of_change:.4f}"
    rows = f"{figures.num_held_out_rows:,} held-out rows after {figures.num_train_rows:,}"
    warning = ": fewer than columns, a lower bound" if figures.is_underdetermined else ""
    r2 = "undefined" if figures.r2 is None else f"{figures.r2:.4f}"
    return f"R2 {r2}{change}  ({rows}{warning})"


def _runs(runs: list[RunFigures]) -> Iterator[str]:
    if not runs:
        yield _line("throughput", "not recorded")
    for index, run in enumerate(runs):
        yield f"run {index + 1} of {len(runs)}"
        yield _line("throughput", f"{run.tokens_per_s:,.0f} tokens/s, {run.elapsed_s:,.1f} s", 2)
        yield _line("made", f"{run.num_tokens:,} tokens, {run.num_rows:,} rows, {run.bytes:,} bytes", 2)
        stalls = f"{run.engine_wait_s:,.1f} s ({run.wait_share:.1%} of {run.num_actors} actors' time)"
        yield _line("waited for the store", stalls, 2)
        yield _line("failures", f"{run.failures}", 2)
