"""An evaluation in lines for people."""

from collections import Counter
from collections.abc import Iterator, Sequence

from thresher.contracts.manifests import EvaluationManifest, Interval, SpliceMetrics, SpliceResult

NAME_WIDTH, SPLICE_WIDTH = 24, 26
CELL_WIDTH = 28
VARIANTS = ("reconstruction", "zeros", "mean row")
ABLATIONS = ("of zero ablation", "of mean ablation")


def evaluation_lines(made: EvaluationManifest) -> Iterator[str]:
    """What was measured, with 95 % intervals in brackets; of several sites a row for each splice."""
    if len(made.results) == 1:
        yield from _lines_of_one(made, made.results[0])
    else:
        yield from _lines_of_several(made)


def _lines_of_one(made: EvaluationManifest, result: SpliceResult) -> Iterator[str]:
    metrics = result.metrics
    site = "+".join(result.output_sites)
    if result.input_sites != result.output_sites:
        site += f" from {'+'.join(result.input_sites)}"
    yield f"{made.dictionary} spliced into {result.model.name} at {site}"
    yield (
        f"{_text(made)}; "
        f"{result.num_spliced_rows:,} rows replaced (FVU {metrics.fvu:.4f}, L0 {metrics.l0:.1f})"
    )
    yield ""
    yield _row("nats a token", "as it is", *VARIANTS)
    yield _row("cross-entropy", *_cross_entropies(metrics))
    yield _row("KL from the model", "0", *_divergences(metrics))
    yield ""
    yield _row("recovered", *ABLATIONS)
    yield _row("cross-entropy", *_recovered(metrics, "ce"))
    yield _row("KL", *_recovered(metrics, "kl"))


def _lines_of_several(made: EvaluationManifest) -> Iterator[str]:
    models = _model_names(made.results)
    names = list(dict.fromkeys(models))
    rows = [
        (_splice_name(result, model if len(names) > 1 else None), result.metrics)
        for result, model in zip(made.results, models, strict=True)
    ]
    width = max(SPLICE_WIDTH, *(len(name) + 2 for name, _ in rows))
    yield f"{made.dictionary} spliced into {' and '.join(names)}, a row for each splice"
    yield _text(made)
    yield ""
    yield _row("rows replaced", "rows", "FVU", "L0", width=width)
    for (name, metrics), result in zip(rows, made.results, strict=True):
        cells = f"{result.num_spliced_rows:,}", f"{metrics.fvu:.4f}", f"{metrics.l0:.1f}"
        yield _row(name, *cells, width=width)
    yield from ("", _row("cross-entropy, nats", "as it is", *VARIANTS, width=width))
    yield from (_row(name, *_cross_entropies(metrics), width=width) for name, metrics in rows)
    yield from ("", _row("KL from the model, nats", *VARIANTS, width=width))
    yield from (_row(name, *_divergences(metrics), width=width) for name, metrics in rows)
    for kind, title in (("ce", "cross-entropy recovered"), ("kl", "KL recovered")):
        yield from ("", _row(title, *ABLATIONS, width=width))
        yield from (_row(name, *_recovered(metrics, kind), width=width) for name, metrics in rows)


def _text(made: EvaluationManifest) -> str:
    return (
        f"{made.num_predictions:,} tokens predicted in {made.num_sequences:,} sequences of {made.corpus_id}"
    )


def _model_names(results: Sequence[SpliceResult]) -> list[str]:
    """The model of each result; two that are called alike go by their weights, too."""
    hashes = {result.model.weights_sha256: result.model.name for result in results}
    shared = Counter(hashes.values())
    return [
        result.model.name
        if shared[result.model.name] == 1
        else f"{result.model.name} {result.model.weights_sha256[:8]}"
        for result in results
    ]


def _splice_name(result: SpliceResult, model: str | None) -> str:
    sites = result.output_sites
    name = sites[0] if len(sites) == 1 else f"all {len(sites)} at once"
    return name if model is None else f"{name} of {model}"


def _cross_entropies(metrics: SpliceMetrics) -> list[str]:
    return [*map(_cell, (metrics.ce_clean, metrics.ce_spliced, metrics.ce_zero, metrics.ce_mean))]


def _divergences(metrics: SpliceMetrics) -> list[str]:
    return [*map(_cell, (metrics.kl_spliced, metrics.kl_zero, metrics.kl_mean))]


def _recovered(metrics: SpliceMetrics, kind: str) -> list[str]:
    return [_cell(getattr(metrics, f"{kind}_recovered_from_{ablation}")) for ablation in ("zero", "mean")]


def _row(name: str, *cells: str, width: int = NAME_WIDTH) -> str:
    return (f"{name:<{width}}" + "".join(f"{cell:<{CELL_WIDTH}}" for cell in cells)).rstrip()


def _cell(interval: Interval) -> str:
    if interval.value is None:
        return "undefined"
    if interval.low is None or interval.high is None:
        return f"{interval.value:.4f}"
    return f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
