"""Lists of what the catalog holds, and one feature in full."""

from dataclasses import fields
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, Table, func, select

from thresher.catalog.current import RETRACTION
from thresher.catalog.database import Catalog
from thresher.catalog.queries import (
    LABEL_COLUMNS,
    check_page,
    features_with_labels,
    read_features,
    read_labels,
    read_page,
    shown_state,
)
from thresher.catalog.tables import (
    current_labels,
    dictionaries,
    events,
    feature_sets,
    features,
    label_runs,
    labels,
    releases,
)
from thresher.catalog.views import Dictionary, FeatureHistory, FeatureSet, Label, LabelRun, Page, Release
from thresher.contracts.errors import SpecError
from thresher.contracts.names import version_order
from thresher.contracts.states import State

FeatureOrder = Literal["feature", "density"]
ViewT = TypeVar("ViewT", FeatureSet, LabelRun, Release)


def list_dictionaries(catalog: Catalog) -> list[Dictionary]:
    """Every dictionary, by name, with the corpora it has statistics over."""
    shown = dictionaries.c
    query = select(
        shown.dictionary, shown.architecture, shown.site, shown.d_in, shown.num_latents, shown.metrics
    ).order_by(shown.name, shown.version)
    with catalog.read() as connection:
        sets = _read_all(connection, FeatureSet, feature_sets, "features_id")
        labelled = _num_labelled(connection)
        return [
            Dictionary(
                *row,
                num_labelled=labelled.get(row.dictionary, 0),
                feature_sets=tuple(found for found in sets if found.dictionary == row.dictionary),
            )
            for row in connection.execute(query)
        ]


def list_label_runs(catalog: Catalog) -> list[LabelRun]:
    """Every complete label run, oldest first."""
    with catalog.read() as connection:
        return _read_all(connection, LabelRun, label_runs, "newest_label_at", label_runs.c.complete)


def list_releases(catalog: Catalog) -> list[Release]:
    """Every release, by name and version."""
    with catalog.read() as connection:
        found = _read_all(connection, Release, releases, "name")
    return sorted(found, key=lambda release: (release.name, version_order(release.version)))


def list_features(
    catalog: Catalog,
    features_id: str,
    *,
    state: State | None = None,
    order: FeatureOrder = "feature",
    limit: int = 20,
    offset: int = 0,
) -> Page:
    """The features of a dictionary over a corpus, labelled or not.

    Args:
        features_id: of `Dictionary.feature_sets`.
        state: only features in that state: their label's, or their statistics' where there is no label.
        order: by number, or the densest first.

    Raises:
        SpecError: there is no such page.
    """
    check_page(limit, offset)
    by = (features.c.feature,) if order == "feature" else (features.c.density.desc(), features.c.feature)
    query = features_with_labels().where(features.c.features_id == features_id).order_by(*by)
    if state is not None:
        query = query.where(shown_state() == state)
    with catalog.read() as connection:
        return read_page(connection, query, limit, offset)


def get_feature(catalog: Catalog, features_id: str, feature: int) -> FeatureHistory:
    """One feature with every label it ever had.

    Raises:
        SpecError: the catalog has no such feature.
    """
    query = features_with_labels().where(features.c.features_id == features_id, features.c.feature == feature)
    with catalog.read() as connection:
        found = read_features(connection, connection.execute(query).all())
        if not found:
            raise SpecError(
                "feature", f"{features_id}/{feature}", mend="Give a feature that the catalog lists."
            )
        history = _labels_of(connection, found[0].dictionary, feature)
        return FeatureHistory(feature=found[0], labels=history, retracted=_retracted(connection, history))


def _labels_of(connection: Connection, dictionary: str, feature: int) -> tuple[Label, ...]:
    query = (
        select(*LABEL_COLUMNS)
        .join(label_runs, label_runs.c.run_id == labels.c.run_id)
        .where(labels.c.dictionary == dictionary, labels.c.feature == feature, label_runs.c.complete)
        .order_by(labels.c.created_at.desc(), labels.c.run_id, labels.c.label_id)
    )
    found = read_labels(connection, [(feature, row) for row in connection.execute(query)])
    return tuple(label for label in found if label is not None)


def _retracted(connection: Connection, history: tuple[Label, ...]) -> dict[tuple[str, str], str]:
    query = select(events.c.run_id, events.c.label_id, events.c.reason).where(
        events.c.kind == RETRACTION, events.c.run_id.in_([label.run_id for label in history])
    )
    return {(row.run_id, row.label_id): row.reason for row in connection.execute(query)}


def _num_labelled(connection: Connection) -> dict[str, int]:
    query = (
        select(current_labels.c.dictionary, func.count())
        .join(
            labels,
            (labels.c.run_id == current_labels.c.run_id) & (labels.c.label_id == current_labels.c.label_id),
        )
        .where(labels.c.state == State.OK)
        .group_by(current_labels.c.dictionary)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _read_all(
    connection: Connection, view: type[ViewT], table: Table, order: str, *conditions: Any
) -> list[ViewT]:
    key = table.primary_key.columns
    query = select(*(table.c[field.name] for field in fields(view))).where(*conditions)
    return [view(*row) for row in connection.execute(query.order_by(table.c[order], *key))]
