"""What a label cost, how far it beats shuffled ones, and whether its scorer was qualified."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("labels", sa.Column("num_candidates", sa.Integer(), nullable=False, server_default="1"))
    for name in ("num_prompt_tokens", "num_completion_tokens"):
        op.add_column("labels", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column(
        "labels", sa.Column("cost", sa.Double(), comment="in the run's currency; null without a price")
    )
    op.add_column(
        "scores", sa.Column("scorer_revision", sa.String(), nullable=False, server_default="unstated")
    )
    op.add_column(
        "scores",
        sa.Column(
            "qualified", sa.Boolean(), comment="told planted features' labels apart; null if never tried"
        ),
    )
    op.add_column(
        "scores",
        sa.Column("lift", sa.Double(), comment="value less the mean of shuffled labels on the same contexts"),
    )
    for name in ("lift_low", "lift_high"):
        op.add_column("scores", sa.Column(name, sa.Double()))
