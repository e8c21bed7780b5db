"""Features with their current labels: the columns that search and browse select, and how rows are read."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select, tuple_

from thresher.catalog.tables import current_labels, feature_sets, features, labels, scores
from thresher.catalog.views import Feature, Label, Page, Score
from thresher.contracts.errors import SpecError

MAX_LIMIT = 1_000

FEATURE_COLUMNS = (
    feature_sets.c.dictionary,
    features.c.features_id,
    features.c.feature,
    features.c.state,
    features.c.num_active,
    features.c.density,
    features.c.mean,
    features.c.max,
    features.c.histogram,
    features.c.top_tokens,
)
LABEL_COLUMNS = (
    labels.c.run_id,
    labels.c.label_id,
    labels.c.text,
    labels.c.state,
    labels.c.method,
    labels.c.explainer_model,
    labels.c.explainer_revision,
    labels.c.created_at,
)


def shown_state() -> ColumnElement[str]:
    """What a feature is listed under: its label's state, or its statistics' where there is no label."""
    return func.coalesce(labels.c.state, features.c.state)


def check_page(limit: int, offset: int) -> None:
    """Refuse a page that cannot be given.

    Raises:
        SpecError: the limit is not in 1..MAX_LIMIT, or the offset is negative.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise SpecError("limit", limit, allowed=f"1 to {MAX_LIMIT}", mend="Ask for a page of such a size.")
    if offset < 0:
        raise SpecError("offset", offset, allowed="0 or more", mend="Start at 0.")


def features_with_labels() -> Select[Any]:
    """Every feature, with its current label where it has one."""
    return (
        select(*FEATURE_COLUMNS, *LABEL_COLUMNS)
        .select_from(features)
        .join(feature_sets, feature_sets.c.features_id == features.c.features_id)
        .outerjoin(
            current_labels,
            (current_labels.c.dictionary == feature_sets.c.dictionary)
            & (current_labels.c.feature == features.c.feature),
        )
        .outerjoin(
            labels,
            (labels.c.run_id == current_labels.c.run_id) & (labels.c.label_id == current_labels.c.label_id),
        )
    )


def read_page(connection: Connection, query: Select[Any], limit: int, offset: int) -> Page:
    """Run a query of FEATURE_COLUMNS and LABEL_COLUMNS: the total, and the features from `offset` on."""
    matching = query.with_only_columns(features.c.feature).order_by(None).subquery()
    total = connection.scalar(select(func.count()).select_from(matching))
    rows = connection.execute(query.limit(limit).offset(offset)).all()
    return Page(total=total or 0, features=read_features(connection, rows))


def read_features(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[Feature, ...]:
    """Features out of rows of FEATURE_COLUMNS and LABEL_COLUMNS, with their labels' scores."""
    split = [(row[: len(FEATURE_COLUMNS)], row[len(FEATURE_COLUMNS) :]) for row in rows]
    found = read_labels(connection, [(of_feature[2], of_label) for of_feature, of_label in split])
    return tuple(_feature(of_feature, label) for (of_feature, _), label in zip(split, found, strict=True))


def _feature(row: Sequence[Any], label: Label | None) -> Feature:
    *values, histogram, top_tokens = row
    return Feature(*[*values, tuple(histogram), tuple(top_tokens), label])


def read_labels(connection: Connection, rows: Sequence[tuple[int, Sequence[Any]]]) -> list[Label | None]:
    """Labels with their scores, out of pairs of a feature and its LABEL_COLUMNS; None where they are null."""
    scored = _read_scores(connection, {(row[0], feature) for feature, row in rows if row[0] is not None})
    return [
        None if row[0] is None else Label(*[*row, tuple(scored[row[0], feature])]) for feature, row in rows
    ]


def _read_scores(
    connection: Connection, keys: set[tuple[str, int]]
) -> defaultdict[tuple[str, int], list[Score]]:
    """By run and feature: every score on the feature's contexts."""
    query = (
        select(scores.c.run_id, scores.c.feature, *(scores.c[field.name] for field in fields(Score)))
        .where(tuple_(scores.c.run_id, scores.c.feature).in_(sorted(keys)))
        .order_by(scores.c.score_type, scores.c.scorer_model, scores.c.shuffled, scores.c.score_id)
    )
    found: defaultdict[tuple[str, int], list[Score]] = defaultdict(list)
    for row in connection.execute(query):
        found[row.run_id, row.feature].append(Score(*row[2:]))
    return found
