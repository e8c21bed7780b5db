"""Words in labels, found by FTS5 on SQLite and by tsvector on PostgreSQL, with one meaning on both.

A query is the words of what the user typed: a label matches if each of them begins one of its words. Case is
ignored. There are no operators, no stemming and no stop words: the databases differ in those.
"""

import re
from dataclasses import dataclass

from sqlalchemy import (
    ColumnClause,
    ColumnElement,
    Connection,
    FromClause,
    column,
    func,
    literal_column,
    select,
    table,
    text,
    true,
)

from thresher.catalog.tables import labels
from thresher.contracts.errors import SpecError

WORD = re.compile(r"[^\W_]+")

SQLITE_INDEX = table("label_search", column("text"), column("run_id"), column("label_id"), column("rank"))
POSTGRESQL_VECTOR = "to_tsvector('simple', regexp_replace(labels.text, '[^[:alnum:]]+', ' ', 'g'))"
"""The indexed expression: PostgreSQL uses the index only for a query with this very expression."""


@dataclass(frozen=True)
class LabelMatch:
    """What a full-text query adds to a select over labels."""

    source: FromClause
    """Labels, with the index joined where it is a table of its own."""
    condition: ColumnElement[bool]
    rank: ColumnElement[float]
    """Ascending: the best match first."""


def words(query: str) -> list[str]:
    """The words of what a user typed; quotes, operators and other marks only separate them.

    Raises:
        SpecError: there is no word in it.
    """
    found = WORD.findall(query)
    if not found:
        raise SpecError("query", query, mend="Type at least one word or number to look for.")
    return found


def match_labels(dialect: str, query: str) -> LabelMatch:
    """Labels that hold every word of `query`, on "sqlite" or "postgresql"."""
    terms = words(query)
    if dialect == "sqlite":
        index = SQLITE_INDEX
        expression = " ".join(f'"{term}"*' for term in terms)
        return LabelMatch(
            source=labels.join(
                index, (labels.c.run_id == index.c.run_id) & (labels.c.label_id == index.c.label_id)
            ),
            condition=literal_column("label_search").bool_op("MATCH")(expression),
            rank=index.c.rank,
        )
    vector: ColumnClause[str] = literal_column(POSTGRESQL_VECTOR)
    expression = " & ".join(f"'{term}':*" for term in terms)
    ts_query = select(func.to_tsquery("simple", expression).label("ts_query")).subquery("ts_query")
    return LabelMatch(
        source=labels.join(ts_query, true()),
        condition=vector.bool_op("@@")(ts_query.c.ts_query),
        rank=-func.ts_rank(vector, ts_query.c.ts_query),
    )


def clear_index(connection: Connection) -> None:
    """Empty the index of a catalog whose labels were deleted. PostgreSQL's follows its table by itself."""
    if connection.dialect.name == "sqlite":
        connection.execute(text("DELETE FROM label_search"))
