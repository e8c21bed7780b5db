"""`thresher label SPEC --qualify`: what came of trying scorers on planted features, as text."""

from collections.abc import Iterator, Sequence

from thresher.contracts.manifests import Interval, QualificationRecord, Separation
from thresher.labeling.spec import LabelSpec


def qualification_lines(spec: str, overrides: Sequence[str]) -> Iterator[str]:
    """A table a scorer: all features, then by kind of rule and by distance of the false descriptions."""
    from thresher.labeling.qualification.qualify import qualify

    for record in qualify(LabelSpec.load(spec, overrides)):
        yield from _lines(record)


def _lines(record: QualificationRecord) -> Iterator[str]:
    verdict = "qualified" if record.qualified else "NOT qualified"
    yield f"{record.score_type} by {record.scorer_model} ({record.scorer_revision}): {verdict}"
    yield f"  {'':<10}{'features':>8}  {'AUROC':<20}{'win rate':<20}lift"
    found = {"all": record.overall, **record.by_kind, **record.by_distance}
    for name, separation in found.items():
        yield f"  {name:<10}{separation.num_rules:>8}  {_figures(separation)}"


def _figures(separation: Separation) -> str:
    return "".join(
        f"{_interval(found):<20}" for found in (separation.auroc, separation.win_rate, separation.lift)
    ).rstrip()


def _interval(found: Interval) -> str:
    if found.value is None:
        return "undefined"
    if found.low is None or found.high is None:
        return f"{found.value:.2f}"
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
