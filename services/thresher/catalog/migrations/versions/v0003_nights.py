"""Events of nights beside those of labels."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        _recreate()  # SQLite cannot let a column be null afterwards
        return
    op.alter_column("events", "run_id", nullable=True, comment="of a label's event")
    op.alter_column("events", "label_id", nullable=True)
    for column in _new_columns():
        op.add_column("events", column)


def _recreate() -> None:
    op.drop_index(op.f("ix_events_run_id_label_id"), "events")
    op.rename_table("events", "events_before")
    op.create_table(
        "events",
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=True, comment="of a label's event"),
        sa.Column("label_id", sa.String(), nullable=True),
        *_new_columns(),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_run_id_label_id"), "events", ["run_id", "label_id"], unique=False)
    columns = "event_id, kind, run_id, label_id, reason, author, created_at"
    op.execute(f"INSERT INTO events ({columns}) SELECT {columns} FROM events_before")
    op.drop_table("events_before")


def _new_columns() -> tuple[sa.Column[str], sa.Column[sa.JSON]]:
    return (
        sa.Column("night_id", sa.String(), nullable=True, comment="of a night's event"),
        sa.Column("details", sa.JSON(), nullable=True, comment="what a night did, in figures"),
    )
