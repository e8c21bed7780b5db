"""Rows of immutable things: inserted once, and the same ever after."""

from typing import Any

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from thresher.contracts.errors import IntegrityError


def insert_same(connection: Connection, table: Table, row: dict[str, Any]) -> bool:
    """Insert a row unless it is there already; whether it was inserted.

    Raises:
        IntegrityError: a row of that key is there with other values.
    """
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    key = table.primary_key.columns
    insert = dialect.insert(table).values(row).on_conflict_do_nothing().returning(*key)
    if connection.execute(insert).first() is not None:
        return True
    condition = [column == row[column.name] for column in key]
    known = connection.execute(select(*(table.c[name] for name in row)).where(*condition)).mappings().first()
    if known is None or dict(known) != row:
        which = ", ".join(str(row[column.name]) for column in key)
        raise IntegrityError(
            f"The catalog holds {table.name} {which} with other content. Stored artifacts never change, "
            "so the catalog is of another root: open a new one, or rebuild this one."
        )
    return False
