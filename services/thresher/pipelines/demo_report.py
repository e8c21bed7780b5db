"""What the demo prints at its end, read from the pulled folder alone."""

from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from thresher.contracts.manifests import LabelManifest
from thresher.contracts.states import State
from thresher.storage.parquet import read_parquet

TOP_TOKENS_SHOWN = 5
SCORE_TYPES = ("simulation", "detection")


MARK = "*"
"""Of a scorer that has not been found to tell true labels from false ones."""
NARROWEST = 140
"""Columns of output that is not a terminal: the table would fold at the usual 80."""


def wide_console() -> Console:
    """Standard output, wide enough for the table."""
    console = Console()
    return console if console.is_terminal else Console(width=NARROWEST)


def print_table(console: Console, pulled: Path) -> None:
    """One row a labelled feature, densest first: label, scores with interval beside shuffled, density, top tokens."""
    stats = {row["feature"]: row for row in _rows(pulled / "features.parquet")}
    scores = _rows(pulled / "scores.parquet")
    table = Table(title="Labelled features", show_lines=False)
    table.add_column("feature", justify="right", no_wrap=True)
    table.add_column("label", max_width=40)
    for name in (*SCORE_TYPES, "shuffled", "density"):
        table.add_column(name, no_wrap=True)
    table.add_column("top tokens", max_width=36)
    labels = _rows(pulled / "labels.parquet")
    for row in sorted(labels, key=lambda item: -stats[item["feature"]]["density"]):
        mine = [score for score in scores if score["feature"] == row["feature"]]
        stat = stats[row["feature"]]
        table.add_row(
            str(row["feature"]),
            escape(row["text"]) if row["state"] == State.OK else f"({row['state']})",
            *(_own(mine, kind) for kind in SCORE_TYPES),
            " / ".join(_shuffled(mine, kind) for kind in SCORE_TYPES),
            f"{stat['density']:.2%}",
            escape(" ".join(repr(token) for token in stat["top_tokens"][:TOP_TOKENS_SHOWN])),
        )
    console.print(table)


def _own(scores: list[dict[str, Any]], kind: str) -> str:
    own = [score for score in scores if score["score_type"] == kind and not score["shuffled"]]
    if not own or own[0]["value"] is None:
        return f"({own[0]['state']})" if own else "-"
    value, low, high = (own[0][name] for name in ("value", "ci_low", "ci_high"))
    interval = f" [{low:.2f}, {high:.2f}]" if low is not None and high is not None else ""
    return f"{value:.2f}{interval}" + ("" if own[0]["qualified"] else MARK)


def _shuffled(scores: list[dict[str, Any]], kind: str) -> str:
    values = [
        score["value"]
        for score in scores
        if score["score_type"] == kind and score["shuffled"] and score["value"] is not None
    ]
    return f"{sum(values) / len(values):.2f}" if values else "-"


def print_means(console: Console, labels: LabelManifest) -> None:
    """What labels add over shuffled ones, in the mean."""
    for kind in SCORE_TYPES:
        own, shuffled = labels.mean_scores.get(kind), labels.mean_scores.get(f"{kind}.shuffled")
        if own is not None and shuffled is not None:
            mark = "" if labels.qualified.get(kind) else f" {MARK}"
            console.print(
                f"mean {kind} score {own:.3f}, of shuffled labels {shuffled:.3f}{mark}", highlight=False
            )
    if not all(labels.qualified.get(kind) for kind in SCORE_TYPES):
        console.print(
            f"{MARK} the scorer has not been found to tell true labels from false ones: "
            "`thresher label SPEC --qualify` tries it.",
            highlight=False,
        )


def _rows(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_parquet(pa.memory_map(str(file))).to_pylist()
    return rows
