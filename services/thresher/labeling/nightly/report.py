"""What a night brought, as data: what changed, the best and the worst, what it cost, what was left and why."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from thresher.contracts.manifests import FamiliesManifest, NightBatch, NightOutcome, Record
from thresher.labeling.nightly.journal import Night
from thresher.labeling.nightly.spec import NightlySpec
from thresher.labeling.nightly.survey import StandingKey, Survey
from thresher.labeling.standings.standing import Standing


class ShownLabel(Record):
    """A label in the report."""

    dictionary: str
    feature: int
    text: str | None
    state: str
    score_type: str | None
    lift: float | None
    lift_low: float | None


class Change(Record):
    """A feature whose current label is another than before."""

    before: ShownLabel | None
    after: ShownLabel


class NightReport(Record):
    """The JSON of a night's report."""

    night_id: str
    started_at: datetime
    ended_at: datetime
    outcome: NightOutcome
    fault: str | None
    num_tokens_paid: int
    states: dict[str, int]
    batches: list[NightBatch]
    needs_found: dict[str, int]
    needs_left: dict[str, int]
    left_because: dict[str, int]
    """Features left, by the reason."""
    given_up: dict[str, int]
    """Features that were tried often enough, by what is wrong with their label."""
    faults: dict[str, str]
    """Dictionaries that could not be read or gathered into families, with what is wrong."""
    families: dict[str, str]
    """Id of the families of each dictionary that got labels."""
    num_links: dict[str, int]
    """Links between its labels, by kind, over all of them."""
    num_changed: int
    changes: list[Change]
    """The most valuable of them: those with the largest lift."""
    best: list[ShownLabel]
    worst: list[ShownLabel]
    """Of the labels that the night made and that have a lift."""


def build_report(
    spec: NightlySpec,
    night: Night,
    before: Survey,
    after: Survey,
    left_because: dict[str, int],
    ended_at: datetime,
    outcome: NightOutcome,
    fault: str | None,
    families: Mapping[str, FamiliesManifest],
    faults: Mapping[str, str],
) -> NightReport:
    """From how it was and how it is."""
    run_ids = set(night.run_ids)
    changes = [
        Change(before=_shown_or_none(before.standings.get(key), key), after=shown(standing, key))
        for key, standing in after.standings.items()
        if standing.run.run_id in run_ids and _is_changed(before.standings.get(key), standing)
    ]
    made = [
        shown(standing, key) for key, standing in after.standings.items() if standing.run.run_id in run_ids
    ]
    judged = sorted((label for label in made if label.lift is not None), key=_by_lift)
    batches = [night.settled[index] for index in sorted(night.settled)]
    return NightReport(
        night_id=night.begun.night_id,
        started_at=night.begun.started_at,
        ended_at=ended_at,
        outcome=outcome,
        fault=fault,
        num_tokens_paid=night.num_tokens_paid,
        states=_sum(batch.states for batch in batches),
        batches=batches,
        needs_found=before.num_by_kind(),
        needs_left=after.num_by_kind(),
        left_because=dict(sorted(left_because.items())),
        given_up=_sum(dict(item.given_up) for item in after.dictionaries),
        faults={**after.faults, **faults},
        families={name: item.families_id for name, item in families.items()},
        num_links=_sum(item.num_links for item in families.values()),
        num_changed=len(changes),
        changes=sorted(changes, key=lambda change: _by_lift(change.after))[: spec.num_shown],
        best=judged[: spec.num_shown],
        worst=judged[::-1][: spec.num_shown],
    )


def shown(standing: Standing, key: StandingKey) -> ShownLabel:
    judgement = standing.judgement
    return ShownLabel(
        dictionary=key[0],
        feature=key[1],
        text=standing.text,
        state=standing.state,
        score_type=judgement.score_type if judgement else None,
        lift=judgement.lift if judgement else None,
        lift_low=judgement.lift_low if judgement else None,
    )


def _shown_or_none(standing: Standing | None, key: StandingKey) -> ShownLabel | None:
    return None if standing is None else shown(standing, key)


def _is_changed(before: Standing | None, after: Standing) -> bool:
    return before is None or (before.run.run_id, before.label_id) != (after.run.run_id, after.label_id)


def _by_lift(label: ShownLabel) -> tuple[bool, float, str, int]:
    return label.lift is None, -(label.lift or 0.0), label.dictionary, label.feature


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for item in counts:
        total.update(item)
    return dict(sorted(total.items()))
