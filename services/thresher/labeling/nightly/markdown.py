"""A night's report as a page. Labels are untrusted text: nothing of them becomes mark-up."""

from collections.abc import Mapping, Sequence

from thresher.contracts.manifests import NightBatch
from thresher.labeling.nightly.report import NightReport, ShownLabel

SPECIAL = str.maketrans({char: f"\\{char}" for char in "\\`*_{}[]()#+-.!|~>"} | {"<": "&lt;", "&": "&amp;"})
OUTCOMES = {
    "complete": "all that it could do is done",
    "time": "its time window closed",
    "budget": "nothing left fits the budget",
    "fault": "it could not go on",
}


def markdown(report: NightReport) -> str:
    """The page."""
    wall_s = (report.ended_at - report.started_at).total_seconds()
    lines = [
        f"# Night {report.night_id}",
        "",
        f"{report.started_at:%Y-%m-%d %H:%M} to {report.ended_at:%Y-%m-%d %H:%M} UTC ({wall_s:,.0f} s): "
        f"{OUTCOMES[report.outcome]}. {report.num_changed:,} current labels changed for "
        f"{report.num_tokens_paid:,} tokens.",
    ]
    if report.fault is not None:
        lines += ["", f"**{plain(report.fault)}**"]
    lines += _counts("Labels made", report.states)
    lines += _counts("Needed work at the begin", report.needs_found)
    lines += _counts("Still need work", report.needs_left)
    lines += _counts("Left, because", report.left_because)
    lines += _counts("Links between labels", report.num_links)
    lines += _counts("Tried often enough, no better", report.given_up)
    lines += _section(
        "Could not be read", [f"- {plain(name)}: {plain(fault)}" for name, fault in report.faults.items()]
    )
    lines += _section("Best labels", _labels(report.best))
    lines += _section("Worst labels", _labels(report.worst))
    lines += _section("Changes", _changes(report))
    lines += _section("Runs", _batches(report.batches))
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """One line of text that Markdown shows as it stands."""
    return " ".join(text.split()).translate(SPECIAL)


def _counts(title: str, counts: Mapping[str, int]) -> list[str]:
    return _section(title, [f"- {plain(name)}: {count:,}" for name, count in counts.items()])


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *lines] if lines else []


def _labels(labels: Sequence[ShownLabel]) -> list[str]:
    if not labels:
        return []
    head = ["| dictionary | feature | label | score | lift | at least |", "|---|---:|---|---|---:|---:|"]
    return head + [
        f"| {plain(item.dictionary)} | {item.feature} | {_text(item)} | {item.score_type} | {_number(item.lift)} | "
        f"{_number(item.lift_low)} |"
        for item in labels
    ]


def _changes(report: NightReport) -> list[str]:
    if not report.changes:
        return []
    head = ["| dictionary | feature | before | after | lift |", "|---|---:|---|---|---:|"]
    return head + [
        f"| {plain(change.after.dictionary)} | {change.after.feature} | "
        f"{'(none)' if change.before is None else _text(change.before)} | {_text(change.after)} | "
        f"{_number(change.after.lift)} |"
        for change in report.changes
    ]


def _batches(batches: Sequence[NightBatch]) -> list[str]:
    if not batches:
        return []
    head = [
        "| run | dictionary | features | outcome | tokens estimated | paid | seconds |",
        "|---|---|---:|---|---:|---:|---:|",
    ]
    return head + [
        f"| {item.run_id or '(none)'} | {plain(item.dictionary)} | {item.num_features} | {item.outcome} | "
        f"{item.estimated_tokens:,.0f} | {item.num_tokens_paid:,} | {item.seconds:,.0f} |"
        for item in batches
    ]


def _text(label: ShownLabel) -> str:
    return plain(label.text) if label.text is not None else f"({label.state})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
