"""The catalog's tables. Everything in them comes from stored artifacts, so all of it can be made again."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An instant. SQLite keeps no time zone, so instants are stored as UTC and given their zone when read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        assert isinstance(value, datetime)
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


dictionaries = Table(
    "dictionaries",
    metadata,
    Column("dictionary", String, primary_key=True, comment="name@version"),
    Column("name", String, nullable=False),
    Column("version", String, nullable=False),
    Column("weights_sha256", String, nullable=False),
    Column("fit_id", String, nullable=False),
    Column("harvest_id", String, nullable=False, comment="the dense harvest it was fitted on"),
    Column("architecture", String, nullable=False),
    Column("site", String, nullable=False),
    Column("d_in", Integer, nullable=False),
    Column("num_latents", Integer, nullable=False),
    Column("metrics", JSON, nullable=False, comment="ReconstructionMetrics"),
    Column("code_version", String, nullable=False),
)

feature_sets = Table(
    "feature_sets",
    metadata,
    Column("features_id", String, primary_key=True),
    Column("dictionary", ForeignKey("dictionaries.dictionary"), nullable=False, index=True),
    Column("corpus_id", String, nullable=False),
    Column("harvest_id", String, nullable=False, comment="the sparse harvest"),
    Column("site", String, nullable=False),
    Column("num_rows", JSON, nullable=False, comment="by split"),
    Column("histogram_edges", JSON, nullable=False, comment="of all its features"),
    Column("code_version", String, nullable=False),
)

features = Table(
    "features",
    metadata,
    Column("features_id", ForeignKey("feature_sets.features_id"), primary_key=True),
    Column("feature", Integer, primary_key=True),
    Column("state", String, nullable=False),
    Column("num_active", BigInteger, nullable=False),
    Column("density", Double, nullable=False),
    Column("mean", Double, nullable=False),
    Column("max", Double, nullable=False),
    Column("histogram", JSON, nullable=False),
    Column("top_tokens", JSON, nullable=False),
    Index(None, "features_id", "density"),
)

label_runs = Table(
    "label_runs",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("dictionary", ForeignKey("dictionaries.dictionary"), nullable=False, index=True),
    Column("features_id", ForeignKey("feature_sets.features_id"), nullable=False),
    Column("corpus_id", String, nullable=False),
    Column("num_features", Integer, nullable=False),
    Column("states", JSON, nullable=False),
    Column("mean_scores", JSON, nullable=False),
    Column("num_calls", BigInteger, nullable=False),
    Column("num_prompt_tokens", BigInteger, nullable=False),
    Column("num_completion_tokens", BigInteger, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("code_version", String, nullable=False),
    Column(
        "complete",
        Boolean,
        nullable=False,
        default=False,
        comment="every file of the run is in; until then nobody sees it",
    ),
    Column(
        "newest_label_at", UtcDateTime, comment="orders the runs; null while incomplete or without labels"
    ),
)

labels = Table(
    "labels",
    metadata,
    Column("run_id", ForeignKey("label_runs.run_id"), primary_key=True),
    Column("label_id", String, primary_key=True),
    Column("dictionary", ForeignKey("dictionaries.dictionary"), nullable=False),
    Column("feature", Integer, nullable=False),
    Column("text", Text),
    Column("state", String, nullable=False),
    Column("method", String, nullable=False),
    Column("explainer_model", String, nullable=False),
    Column("explainer_revision", String, nullable=False),
    Column("prompt_sha256", String, nullable=False),
    Column("exemplars_sha256", String, nullable=False),
    Column("decoding", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("num_candidates", Integer, nullable=False, server_default="1"),
    Column("num_prompt_tokens", BigInteger, nullable=False, server_default="0"),
    Column("num_completion_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cost", Double, comment="in the run's currency; null without a price"),
    Column("code_version", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("supersedes", String),
    Index(None, "dictionary", "feature"),
)

scores = Table(
    "scores",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("score_id", String, primary_key=True),
    Column("label_id", String, nullable=False, comment="whose text was scored"),
    Column("feature", Integer, nullable=False, comment="on whose contexts"),
    Column("score_type", String, nullable=False),
    Column("shuffled", Boolean, nullable=False),
    Column("scorer_model", String, nullable=False),
    Column("scorer_revision", String, nullable=False, server_default="unstated"),
    Column("qualified", Boolean, comment="told planted features' labels apart; null if never tried"),
    Column("prompt_sha256", String, nullable=False),
    Column("value", Double),
    Column("ci_low", Double),
    Column("ci_high", Double),
    Column("ci_method", String, nullable=False),
    Column("lift", Double, comment="value less the mean of shuffled labels on the same contexts"),
    Column("lift_low", Double),
    Column("lift_high", Double),
    Column("state", String, nullable=False),
    Column("n", Integer, nullable=False),
    Column("n_unparsed", Integer, nullable=False),
    Column("sample_sha256", String, nullable=False),
    ForeignKeyConstraint(["run_id", "label_id"], ["labels.run_id", "labels.label_id"]),
    Index(None, "run_id", "feature"),
)

current_labels = Table(
    "current_labels",
    metadata,
    Column("dictionary", ForeignKey("dictionaries.dictionary"), primary_key=True),
    Column("feature", Integer, primary_key=True),
    Column("run_id", String, nullable=False),
    Column("label_id", String, nullable=False),
    ForeignKeyConstraint(["run_id", "label_id"], ["labels.run_id", "labels.label_id"]),
    Index(None, "run_id", "label_id"),
)

family_sets = Table(
    "family_sets",
    metadata,
    Column("families_id", String, primary_key=True),
    Column("dictionary", ForeignKey("dictionaries.dictionary"), nullable=False, index=True),
    Column("features_id", ForeignKey("feature_sets.features_id"), nullable=False),
    Column("labels_sha256", String, nullable=False),
    Column("num_labels", Integer, nullable=False),
    Column("num_families", Integer, nullable=False),
    Column("num_links", JSON, nullable=False, comment="by kind"),
    Column("code_version", String, nullable=False),
)

families = Table(
    "families",
    metadata,
    Column("families_id", ForeignKey("family_sets.families_id"), primary_key=True),
    Column("feature", Integer, primary_key=True),
    Column("family_id", String, nullable=False),
    Column("name", Text, nullable=False),
    Column("run_id", String, nullable=False, comment="of its label"),
    Column("label_id", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("similarity", Double, nullable=False),
    Index(None, "families_id", "family_id"),
)

label_links = Table(
    "label_links",
    metadata,
    Column("families_id", ForeignKey("family_sets.families_id"), primary_key=True),
    Column("feature", Integer, primary_key=True),
    Column("other", Integer, primary_key=True, comment="larger than feature"),
    Column("kind", String, nullable=False, comment="duplicate, synonym or confusable"),
    Column("text_similarity", Double, nullable=False),
    Column("decoder_cosine", Double),
    Column("cofiring", Double, nullable=False),
    Index(None, "families_id", "other"),
)

releases = Table(
    "releases",
    metadata,
    Column("release_id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("version", String, nullable=False),
    Column("num_files", Integer, nullable=False),
    Column("num_bytes", BigInteger, nullable=False),
    Column("lineage", JSON, nullable=False),
    Column("code_version", String, nullable=False),
    UniqueConstraint("name", "version"),
)

events = Table(
    "events",
    metadata,
    Column("event_id", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("run_id", String, comment="of a label's event"),
    Column("label_id", String),
    Column("night_id", String, comment="of a night's event"),
    Column("details", JSON, comment="what a night did, in figures"),
    Column("reason", Text, nullable=False),
    Column("author", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "run_id", "label_id"),
)

ingested_files = Table(
    "ingested_files",
    metadata,
    Column("key", String, primary_key=True, comment="of the object, under the store's root"),
    Column("sha256", String, nullable=False),
)
"""One row a file, written in the transaction of the file's own rows: what makes ingesting exactly-once."""
