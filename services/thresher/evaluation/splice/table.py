"""An evaluation in lines for people."""

from collections.abc import Iterator

from thresher.contracts.manifests import EvaluationManifest, Interval

NAME_WIDTH = 24
CELL_WIDTH = 28


def evaluation_lines(made: EvaluationManifest) -> Iterator[str]:
    """What was measured, with 95 % intervals in brackets."""
    metrics = made.metrics
    site = made.output_site
    if made.input_site != site:
        site += f" from {made.input_site}"
    yield f"{made.dictionary} spliced into {made.model.name} at {site}"
    yield (
        f"{made.num_predictions:,} tokens predicted in {made.num_sequences:,} sequences of {made.corpus_id}; "
        f"{made.num_spliced_rows:,} rows replaced (FVU {metrics.fvu:.4f}, L0 {metrics.l0:.1f})"
    )
    yield ""
    yield _row("nats a token", "as it is", "reconstruction", "zeros", "mean row")
    cross_entropies = (metrics.ce_clean, metrics.ce_spliced, metrics.ce_zero, metrics.ce_mean)
    yield _row("cross-entropy", *map(_cell, cross_entropies))
    yield _row("KL from the model", "0", *map(_cell, (metrics.kl_spliced, metrics.kl_zero, metrics.kl_mean)))
    yield ""
    yield _row("recovered", "of zero ablation", "of mean ablation")
    yield _row("cross-entropy", _cell(metrics.ce_recovered_from_zero), _cell(metrics.ce_recovered_from_mean))
    yield _row("KL", _cell(metrics.kl_recovered_from_zero), _cell(metrics.kl_recovered_from_mean))


def _row(name: str, *cells: str) -> str:
    return (f"{name:<{NAME_WIDTH}}" + "".join(f"{cell:<{CELL_WIDTH}}" for cell in cells)).rstrip()


def _cell(interval: Interval) -> str:
    if interval.value is None:
        return "undefined"
    if interval.low is None or interval.high is None:
        return f"{interval.value:.4f}"
    return f"{interval.value:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
