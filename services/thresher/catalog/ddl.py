"""The catalog's schema as SQL text."""

import io

from alembic import command

from thresher.catalog.schema import alembic_config


def ddl(dialect: str) -> str:
    """The statements that make an empty database into a catalog, on "sqlite" or "postgresql"."""
    config = alembic_config()
    config.attributes["dialect"] = dialect
    config.output_buffer = io.StringIO()
    command.upgrade(config, "head", sql=True)
    return config.output_buffer.getvalue()
