"""A comparison as a Markdown table."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from thresher.evaluation.pareto.points import DictionaryPoint

HEADER = (
    "dictionary",
    "architecture",
    "latents",
    "rows trained on",
    "L0",
    "FVU",
    "without outliers",
    "dead",
    "gamma",
    "front",
)


def table_lines(points: Sequence[DictionaryPoint]) -> Iterator[str]:
    """One table for each set of held-out rows; `*` marks the Pareto front."""
    for index, (measured_on, group) in enumerate(groupby(points, key=lambda point: point.measured_on)):
        rows = list(group)
        if index:
            yield ""
        yield f"Measured on {rows[0].num_rows:,} rows: {measured_on}"
        yield ""
        yield _line(HEADER)
        yield _line(["---", "---", *["---:"] * 7, "---"])
        yield from (_line(_cells(point)) for point in rows)


def _cells(point: DictionaryPoint) -> list[str]:
    return [
        point.dictionary,
        point.architecture,
        f"{point.num_latents:,}",
        "" if point.num_training_rows is None else f"{point.num_training_rows:,}",
        f"{point.l0:.2f}",
        f"{point.fvu:.4f}",
        _number(point.fvu_without_outliers),
        f"{point.dead_fraction:.2%}",
        _number(point.relative_reconstruction_bias),
        "*" if point.on_front else "",
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
