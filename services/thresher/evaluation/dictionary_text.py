"""How good a dictionary is, in lines for people."""

from collections.abc import Iterator, Mapping

from thresher.contracts.manifests import DictionaryManifest, NormBand, ReconstructionMetrics

NAME_WIDTH = 24
BAR_WIDTH = 40


def dictionary_lines(manifest: DictionaryManifest) -> Iterator[str]:
    """What it is and where it came from, then every metric that its manifest has."""
    yield _line("dictionary", f"{manifest.name}@{manifest.version} (fit {manifest.fit_id})")
    yield _line("architecture", f"{manifest.architecture}, {manifest.num_latents:,} latents")
    harvests = f", of harvest {', '.join(manifest.harvest_ids)}" if manifest.harvest_ids else ""
    yield _line("of", f"{manifest.site} ({manifest.target.kind}), {manifest.d_in:,} wide{harvests}")
    if manifest.num_training_rows is not None:
        yield _line("rows trained on", f"{manifest.num_training_rows:,}")
    if manifest.origin is not None:
        yield _line("imported from", f"{manifest.origin.format}: {manifest.origin.source}")
    yield _line("code version", manifest.code_version)
    yield _line("bytes", f"{sum(entry.size for entry in manifest.files):,} in {len(manifest.files)} files")
    yield ""
    if manifest.metrics is None:
        yield "held out  (not measured: it was imported without a harvest)"
    else:
        yield from metric_lines(manifest.metrics)


def metric_lines(metrics: ReconstructionMetrics) -> Iterator[str]:
    """Section by section; docs/metrics.md says what each line means."""
    yield f"held out  ({metrics.num_rows:,} rows)"
    yield _line("FVU", f"{metrics.fvu:.4f}, explained variance {metrics.explained_variance:.4f}", 2)
    for site, fvu in metrics.fvu_by_site.items():
        yield _line(f"FVU of {site}", f"{fvu:.4f}", 2)
    if metrics.outlier_share is not None and metrics.outlier_variance_share is not None:
        held = f"{metrics.outlier_share:.3%} of rows, {metrics.outlier_variance_share:.1%} of the variance"
        yield _line("FVU without outliers", f"{_number(metrics.fvu_without_outliers)} ({held} left out)", 2)
    yield from _shrinkage(metrics)
    yield from _bands(metrics.norm_bands)
    yield ""
    yield "latents"
    quantiles = _quantiles(metrics.l0_quantiles, "g")
    yield _line("L0", f"{metrics.l0:.2f} on average{'; ' if quantiles else ''}{quantiles}", 2)
    dense = (
        ""
        if metrics.dense_fraction is None
        else f", {metrics.dense_fraction:.2%} active on over 10 % of rows"
    )
    yield _line("dead", f"{metrics.dead_fraction:.2%}{dense}", 2)
    yield from _histogram(
        "density from", {f"{10 ** (b / 4):.2e}": n for b, n in _filled(metrics.density_counts)}
    )
    if metrics.decoder_cosine_quantiles:
        yield _line(
            "nearest decoder rows", f"|cosine| {_quantiles(metrics.decoder_cosine_quantiles, '.3f')}", 2
        )
    cosines = {f"{b / 20:.2f}": n for b, n in _filled(metrics.decoder_cosine_counts)}
    yield from _histogram("|cosine| from", cosines)


def _shrinkage(metrics: ReconstructionMetrics) -> Iterator[str]:
    if metrics.relative_reconstruction_bias is not None:
        centred = f", {_number(metrics.centred_reconstruction_bias)} of rows less their mean"
        yield _line("shrinkage", f"gamma {metrics.relative_reconstruction_bias:.4f}{centred}", 2)
    if metrics.norm_ratio is not None:
        yield _line("norm ratio", f"{metrics.norm_ratio:.4f}, cosine {_number(metrics.cosine)}", 2)


def _bands(bands: list[NormBand]) -> Iterator[str]:
    if not bands:
        return
    yield f"  {'norm above':>10} {'rows':>10} {'of variance':>12} {'of error':>10} {'FVU':>8}"
    for band in bands:
        shares = f"{band.variance_share:>12.2%} {band.error_share:>10.2%}"
        yield f"  {band.above_norm:>10.4g} {band.num_rows:>10,} {shares} {_number(band.fvu):>8}"


def _filled(counts: Mapping[int, int]) -> list[tuple[int, int]]:
    """With the empty bins between the first and the last."""
    return [(index, counts.get(index, 0)) for index in range(min(counts), max(counts) + 1)] if counts else []


def _histogram(title: str, counts: Mapping[str, int]) -> Iterator[str]:
    if not counts:
        return
    yield f"  {title:>14} {'latents':>9}"
    largest = max(counts.values())
    for low, count in counts.items():
        yield f"  {low:>14} {count:>9,} {'#' * -(-BAR_WIDTH * count // largest)}".rstrip()


def _quantiles(values: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{float(level):.0%} {value:{form}}" for level, value in values.items())


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _line(name: str, value: object, indent: int = 0) -> str:
    return f"{' ' * indent}{name:<{NAME_WIDTH - indent}} {value}"
