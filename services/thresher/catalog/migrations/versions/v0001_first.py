"""Dictionaries, features, label runs, labels, scores, releases, events; full-text search over labels."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

SQLITE_SEARCH = (
    """
    CREATE VIRTUAL TABLE label_search USING fts5(
        text, run_id UNINDEXED, label_id UNINDEXED, tokenize = "unicode61 remove_diacritics 0", prefix = '2 3'
    )
    """,
    """
    CREATE TRIGGER label_search_insert AFTER INSERT ON labels WHEN new.text IS NOT NULL BEGIN
        INSERT INTO label_search (text, run_id, label_id) VALUES (new.text, new.run_id, new.label_id);
    END
    """,
)
POSTGRESQL_SEARCH = (
    """
    CREATE INDEX ix_label_search ON labels
    USING gin (to_tsvector('simple', regexp_replace(text, '[^[:alnum:]]+', ' ', 'g')))
    """,
)


def upgrade() -> None:
    _create_artifact_tables()
    _create_label_tables()
    is_sqlite = op.get_context().dialect.name == "sqlite"
    for statement in SQLITE_SEARCH if is_sqlite else POSTGRESQL_SEARCH:
        op.execute(statement)


def _create_artifact_tables() -> None:
    op.create_table(
        "dictionaries",
        sa.Column("dictionary", sa.String(), nullable=False, comment="name@version"),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("weights_sha256", sa.String(), nullable=False),
        sa.Column("fit_id", sa.String(), nullable=False),
        sa.Column("harvest_id", sa.String(), nullable=False, comment="the dense harvest it was fitted on"),
        sa.Column("architecture", sa.String(), nullable=False),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("d_in", sa.Integer(), nullable=False),
        sa.Column("num_latents", sa.Integer(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False, comment="ReconstructionMetrics"),
        sa.Column("code_version", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("dictionary", name=op.f("pk_dictionaries")),
    )
    op.create_table(
        "feature_sets",
        sa.Column("features_id", sa.String(), nullable=False),
        sa.Column("dictionary", sa.String(), nullable=False),
        sa.Column("corpus_id", sa.String(), nullable=False),
        sa.Column("harvest_id", sa.String(), nullable=False, comment="the sparse harvest"),
        sa.Column("site", sa.String(), nullable=False),
        sa.Column("num_rows", sa.JSON(), nullable=False, comment="by split"),
        sa.Column(
            "histogram_edges",
            sa.JSON(),
            nullable=False,
            comment="of all its features",
        ),
        sa.Column("code_version", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dictionary"], ["dictionaries.dictionary"], name=op.f("fk_feature_sets_dictionary")
        ),
        sa.PrimaryKeyConstraint("features_id", name=op.f("pk_feature_sets")),
    )
    op.create_index(op.f("ix_feature_sets_dictionary"), "feature_sets", ["dictionary"], unique=False)
    op.create_table(
        "features",
        sa.Column("features_id", sa.String(), nullable=False),
        sa.Column("feature", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("num_active", sa.BigInteger(), nullable=False),
        sa.Column("density", sa.Double(), nullable=False),
        sa.Column("mean", sa.Double(), nullable=False),
        sa.Column("max", sa.Double(), nullable=False),
        sa.Column("histogram", sa.JSON(), nullable=False),
        sa.Column("top_tokens", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["features_id"], ["feature_sets.features_id"], name=op.f("fk_features_features_id")
        ),
        sa.PrimaryKeyConstraint("features_id", "feature", name=op.f("pk_features")),
    )
    op.create_index(
        op.f("ix_features_features_id_density"), "features", ["features_id", "density"], unique=False
    )
    op.create_table(
        "releases",
        sa.Column("release_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("num_files", sa.Integer(), nullable=False),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("lineage", sa.JSON(), nullable=False),
        sa.Column("code_version", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("release_id", name=op.f("pk_releases")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_releases_name_version")),
    )
    op.create_table(
        "ingested_files",
        sa.Column("key", sa.String(), nullable=False, comment="of the object, under the store's root"),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_ingested_files")),
    )


def _create_label_tables() -> None:
    op.create_table(
        "label_runs",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("dictionary", sa.String(), nullable=False),
        sa.Column("features_id", sa.String(), nullable=False),
        sa.Column("corpus_id", sa.String(), nullable=False),
        sa.Column("num_features", sa.Integer(), nullable=False),
        sa.Column("states", sa.JSON(), nullable=False),
        sa.Column("mean_scores", sa.JSON(), nullable=False),
        sa.Column("num_calls", sa.BigInteger(), nullable=False),
        sa.Column("num_prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("num_completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("code_version", sa.String(), nullable=False),
        sa.Column(
            "complete",
            sa.Boolean(),
            nullable=False,
            comment="every file of the run is in; until then nobody sees it",
        ),
        sa.Column(
            "newest_label_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="orders the runs; null while incomplete or without labels",
        ),
        sa.ForeignKeyConstraint(
            ["dictionary"], ["dictionaries.dictionary"], name=op.f("fk_label_runs_dictionary")
        ),
        sa.ForeignKeyConstraint(
            ["features_id"], ["feature_sets.features_id"], name=op.f("fk_label_runs_features_id")
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_label_runs")),
    )
    op.create_index(op.f("ix_label_runs_dictionary"), "label_runs", ["dictionary"], unique=False)
    op.create_table(
        "labels",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("label_id", sa.String(), nullable=False),
        sa.Column("dictionary", sa.String(), nullable=False),
        sa.Column("feature", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("explainer_model", sa.String(), nullable=False),
        sa.Column("explainer_revision", sa.String(), nullable=False),
        sa.Column("prompt_sha256", sa.String(), nullable=False),
        sa.Column("exemplars_sha256", sa.String(), nullable=False),
        sa.Column("decoding", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("code_version", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("supersedes", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["dictionary"], ["dictionaries.dictionary"], name=op.f("fk_labels_dictionary")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["label_runs.run_id"], name=op.f("fk_labels_run_id")),
        sa.PrimaryKeyConstraint("run_id", "label_id", name=op.f("pk_labels")),
    )
    op.create_index(op.f("ix_labels_dictionary_feature"), "labels", ["dictionary", "feature"], unique=False)
    op.create_table(
        "scores",
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("score_id", sa.String(), nullable=False),
        sa.Column("label_id", sa.String(), nullable=False, comment="whose text was scored"),
        sa.Column("feature", sa.Integer(), nullable=False, comment="on whose contexts"),
        sa.Column("score_type", sa.String(), nullable=False),
        sa.Column("shuffled", sa.Boolean(), nullable=False),
        sa.Column("scorer_model", sa.String(), nullable=False),
        sa.Column("prompt_sha256", sa.String(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("ci_low", sa.Double(), nullable=True),
        sa.Column("ci_high", sa.Double(), nullable=True),
        sa.Column("ci_method", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("n_unparsed", sa.Integer(), nullable=False),
        sa.Column("sample_sha256", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id", "label_id"],
            ["labels.run_id", "labels.label_id"],
            name=op.f("fk_scores_run_id_label_id"),
        ),
        sa.PrimaryKeyConstraint("run_id", "score_id", name=op.f("pk_scores")),
    )
    op.create_index(op.f("ix_scores_run_id_feature"), "scores", ["run_id", "feature"], unique=False)
    op.create_table(
        "current_labels",
        sa.Column("dictionary", sa.String(), nullable=False),
        sa.Column("feature", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("label_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["dictionary"], ["dictionaries.dictionary"], name=op.f("fk_current_labels_dictionary")
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "label_id"],
            ["labels.run_id", "labels.label_id"],
            name=op.f("fk_current_labels_run_id_label_id"),
        ),
        sa.PrimaryKeyConstraint("dictionary", "feature", name=op.f("pk_current_labels")),
    )
    op.create_index(
        op.f("ix_current_labels_run_id_label_id"), "current_labels", ["run_id", "label_id"], unique=False
    )
    op.create_table(
        "events",
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("label_id", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_run_id_label_id"), "events", ["run_id", "label_id"], unique=False)
