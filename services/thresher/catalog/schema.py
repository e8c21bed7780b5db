"""The schema's version: Alembic's migrations, packaged beside this file and run without a command line."""

import io
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from thresher.contracts.errors import ThresherError

MIGRATIONS = Path(__file__).parent / "migrations"


class SchemaTooNewError(ThresherError):
    """A newer thresher made the catalog's schema."""


def is_current(connection: Connection) -> bool:
    """Whether the schema is the newest that this code knows."""
    head = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    return MigrationContext.configure(connection).get_current_revision() == head


def upgrade(connection: Connection, url: str) -> None:
    """Bring the schema up to date, inside the caller's transaction.

    Raises:
        SchemaTooNewError: the schema's revision is not one of ours.
    """
    revision = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
    if revision is not None and revision not in known:
        raise SchemaTooNewError(
            f"{url} has schema {revision}, made by a newer thresher: upgrade thresher or use another catalog."
        )
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def alembic_config() -> Config:
    """Alembic's settings, as alembic.ini would give them."""
    config = Config(stdout=io.StringIO())
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
