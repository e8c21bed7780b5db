"""Full-text search over the current labels."""

from sqlalchemy import select

from thresher.catalog.database import Catalog
from thresher.catalog.fulltext import match_labels
from thresher.catalog.queries import FEATURE_COLUMNS, LABEL_COLUMNS, check_page, read_page
from thresher.catalog.tables import current_labels, feature_sets, features, label_runs, labels
from thresher.catalog.views import Page


def search(
    catalog: Catalog, query: str, *, dictionary: str | None = None, limit: int = 20, offset: int = 0
) -> Page:
    """Features whose current label holds every word of `query`, best match first.

    Each comes with the statistics that its label was made from. What the words of a query mean is said in
    `catalog.fulltext`; only labels that came out well have words.

    Args:
        dictionary: name@version, to search in one dictionary alone.

    Raises:
        SpecError: the query holds no word, or there is no such page.
    """
    check_page(limit, offset)
    match = match_labels(catalog.dialect, query)
    selected = (
        select(*FEATURE_COLUMNS, *LABEL_COLUMNS)
        .select_from(match.source)
        .join(
            current_labels,
            (current_labels.c.run_id == labels.c.run_id) & (current_labels.c.label_id == labels.c.label_id),
        )
        .join(label_runs, label_runs.c.run_id == labels.c.run_id)
        .join(feature_sets, feature_sets.c.features_id == label_runs.c.features_id)
        .join(
            features,
            (features.c.features_id == label_runs.c.features_id) & (features.c.feature == labels.c.feature),
        )
        .where(match.condition)
        .order_by(match.rank, labels.c.dictionary, labels.c.feature)
    )
    if dictionary is not None:
        selected = selected.where(labels.c.dictionary == dictionary)
    with catalog.read() as connection:
        return read_page(connection, selected, limit, offset)
