"""Which label of a feature is shown: a pointer, moved by one policy and never by hand.

The policy: of the labels that were not retracted, one that came out well before one that did not, then the
label of the last run, then the newest. Runs are ordered by their newest label, so the outcome does not depend
on the order in which they were ingested, and a run that failed on a feature leaves the pointer where it was.
"""

from sqlalchemy import ColumnElement, Connection, Select, case, delete, exists, func, insert, select

from thresher.catalog.tables import current_labels, events, label_runs, labels
from thresher.contracts.states import State

RETRACTION = "retraction"


def move_pointers(connection: Connection, dictionary: str, run_id: str) -> None:
    """Apply the policy to every feature of a dictionary that the run has a label of."""
    features = select(labels.c.feature).where(labels.c.run_id == run_id)
    connection.execute(
        delete(current_labels).where(
            current_labels.c.dictionary == dictionary, current_labels.c.feature.in_(features)
        )
    )
    ranked = _ranked(labels.c.feature.in_(features) & (labels.c.dictionary == dictionary)).subquery()
    first = select(ranked.c.dictionary, ranked.c.feature, ranked.c.run_id, ranked.c.label_id).where(
        ranked.c.place == 1
    )
    connection.execute(insert(current_labels).from_select(list(first.selected_columns.keys()), first))


def _ranked(condition: ColumnElement[bool]) -> Select[tuple[str, int, str, str, int]]:
    retracted = exists().where(
        events.c.kind == RETRACTION,
        events.c.run_id == labels.c.run_id,
        events.c.label_id == labels.c.label_id,
    )
    place = func.row_number().over(
        partition_by=[labels.c.dictionary, labels.c.feature],
        order_by=[
            case((labels.c.state == State.OK, 0), else_=1),
            label_runs.c.newest_label_at.desc(),
            labels.c.created_at.desc(),
            labels.c.run_id,
            labels.c.label_id,
        ],
    )
    return (
        select(
            labels.c.dictionary, labels.c.feature, labels.c.run_id, labels.c.label_id, place.label("place")
        )
        .join(label_runs, label_runs.c.run_id == labels.c.run_id)
        .where(condition, label_runs.c.complete, ~retracted)
    )
