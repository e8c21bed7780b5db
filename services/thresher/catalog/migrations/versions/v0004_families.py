"""Links between labels, and families of them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "family_sets",
        sa.Column("families_id", sa.String(), nullable=False),
        sa.Column("dictionary", sa.String(), nullable=False),
        sa.Column("features_id", sa.String(), nullable=False),
        sa.Column("labels_sha256", sa.String(), nullable=False),
        sa.Column("num_labels", sa.Integer(), nullable=False),
        sa.Column("num_families", sa.Integer(), nullable=False),
        sa.Column("num_links", sa.JSON(), nullable=False, comment="by kind"),
        sa.Column("code_version", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dictionary"], ["dictionaries.dictionary"], name=op.f("fk_family_sets_dictionary")
        ),
        sa.ForeignKeyConstraint(
            ["features_id"], ["feature_sets.features_id"], name=op.f("fk_family_sets_features_id")
        ),
        sa.PrimaryKeyConstraint("families_id", name=op.f("pk_family_sets")),
    )
    op.create_index(op.f("ix_family_sets_dictionary"), "family_sets", ["dictionary"], unique=False)
    op.create_table(
        "families",
        sa.Column("families_id", sa.String(), nullable=False),
        sa.Column("feature", sa.Integer(), nullable=False),
        sa.Column("family_id", sa.String(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False, comment="of its label"),
        sa.Column("label_id", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("similarity", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["families_id"], ["family_sets.families_id"], name=op.f("fk_families_families_id")
        ),
        sa.PrimaryKeyConstraint("families_id", "feature", name=op.f("pk_families")),
    )
    op.create_index(
        op.f("ix_families_families_id_family_id"), "families", ["families_id", "family_id"], unique=False
    )
    op.create_table(
        "label_links",
        sa.Column("families_id", sa.String(), nullable=False),
        sa.Column("feature", sa.Integer(), nullable=False),
        sa.Column("other", sa.Integer(), nullable=False, comment="larger than feature"),
        sa.Column("kind", sa.String(), nullable=False, comment="duplicate, synonym or confusable"),
        sa.Column("text_similarity", sa.Double(), nullable=False),
        sa.Column("decoder_cosine", sa.Double(), nullable=True),
        sa.Column("cofiring", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["families_id"], ["family_sets.families_id"], name=op.f("fk_label_links_families_id")
        ),
        sa.PrimaryKeyConstraint("families_id", "feature", "other", name=op.f("pk_label_links")),
    )
    op.create_index(
        op.f("ix_label_links_families_id_other"), "label_links", ["families_id", "other"], unique=False
    )
