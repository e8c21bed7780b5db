"""One catalog over SQLite or PostgreSQL: connections, transactions, the schema kept up to date."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError

from thresher.catalog import schema
from thresher.contracts.errors import SpecError, ThresherError
from thresher.contracts.ids import canonical_json

DEFAULT_URL = "sqlite:///.thresher/catalog.sqlite"
ALLOWED = (
    "sqlite:///relative/file.sqlite",
    "sqlite:////absolute/file.sqlite",
    "postgresql://user@host/database",
)
LOCK_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 10
WRITER_LOCK = 0x7468726573686572
"""PostgreSQL advisory lock that a writer holds: one writer at a time, as on SQLite."""


class CatalogError(ThresherError):
    """The catalog's database cannot be used: says which, and how to mend it. Never holds a password."""


class Catalog:
    """A database whose schema is the one this code knows."""

    def __init__(self, engine: Engine) -> None:
        self._readers = engine
        self._writers = engine.execution_options(thresher_writer=True)

    @property
    def url(self) -> str:
        """Where the catalog is; never holds a secret."""
        return display_url(self._readers.url)

    @property
    def dialect(self) -> str:
        """sqlite or postgresql."""
        return self._readers.dialect.name

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads: one consistent state, never blocked by a writer."""
        with _in_words(self.url), self._readers.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may write, the only one at that time: others wait up to LOCK_TIMEOUT_S."""
        with _in_words(self.url), self._writers.begin() as connection:
            yield connection

    def close(self) -> None:
        self._readers.dispose()


def open_catalog(url: str = DEFAULT_URL) -> Catalog:
    """Open a catalog, make it if it is not there, and bring its schema up to date.

    Raises:
        SpecError: the url is not one of a supported database.
        CatalogError: the database cannot be reached, or a newer thresher made its schema.
    """
    catalog = Catalog(_engine(_parse(url)))
    with catalog.read() as connection:
        current = schema.is_current(connection)
    if not current:
        with catalog.write() as connection:
            schema.upgrade(connection, catalog.url)
    return catalog


def display_url(url: URL) -> str:
    """The url without user's secrets: no password, no query (drivers take passwords there too)."""
    return url.set(query={}).render_as_string(hide_password=True)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SpecError(
            "catalog", "(a text that is no url)", allowed=ALLOWED, mend="Write it as one of these."
        ) from None
    if parsed.drivername == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
        raise SpecError("catalog", display_url(parsed), allowed=ALLOWED, mend="Use one of these databases.")
    if parsed.drivername == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise SpecError("catalog", display_url(parsed), allowed=ALLOWED, mend="Name a file.")
    return parsed


def _engine(url: URL) -> Engine:
    if url.drivername == "sqlite":
        return _sqlite_engine(url)
    try:
        engine = create_engine(
            url,
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
            json_serializer=canonical_json,
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise CatalogError(
            "PostgreSQL needs a driver: run pip install 'thresher[postgres]', or use a SQLite catalog."
        ) from error
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _sqlite_engine(url: URL) -> Engine:
    assert url.database is not None
    folder = Path(url.database).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogError(
            f"{display_url(url)}: cannot make the folder {folder} ({error.strerror})."
        ) from error
    engine = create_engine(url, connect_args={"timeout": LOCK_TIMEOUT_S}, json_serializer=canonical_json)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, record: object) -> None:
    # Python's driver would otherwise open transactions by itself, late and without a write lock.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A deferred transaction that reads and then writes fails at once when another wrote in between.
    writes = connection.get_execution_options().get("thresher_writer", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get("thresher_writer", False):
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITER_LOCK})
    else:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))


@contextmanager
def _in_words(url: str) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise CatalogError(f"{url}: {_first_line(error)}. {_mend(str(error.orig))}") from error
    except DBAPIError as error:
        message = str(error.orig)
        if "file is not a database" in message:
            raise CatalogError(f"{url}: the file is not a catalog. Give another path.") from error
        if "permission denied" in message:
            raise CatalogError(f"{url}: {_first_line(error)}. Grant the user this right.") from error
        raise


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0]


def _mend(message: str) -> str:
    if "lock" in message:
        return f"Another process has been writing for {LOCK_TIMEOUT_S} s: wait for it, then try again."
    if "authentication" in message or "password" in message:
        return "Correct the user or password in the catalog's url."
    if "does not exist" in message:
        return "Create the database, or correct its name in the catalog's url."
    if "disk" in message and "full" in message:
        return "Free some space and try again: what was committed is kept."
    if "unable to open database file" in message or "readonly" in message:
        return "Check that the folder can be written."
    return "Check that the server runs and that host and port of the catalog's url are right."
