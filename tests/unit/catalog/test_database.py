"""Opening: the schema is made, kept up to date or refused, and faults are told in words without secrets."""

import sqlite3

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from thresher.catalog.database import CatalogError, open_catalog
from thresher.catalog.ddl import ddl
from thresher.catalog.schema import SchemaTooNewError
from thresher.catalog.tables import metadata
from thresher.contracts.errors import SpecError

SEARCH_OBJECTS = ("label_search", "ix_label_search")


def test_the_migrations_make_the_tables_that_the_code_uses(catalog_url):
    def include(item, name, kind, reflected, compare_to):
        return not (reflected and str(name).startswith(SEARCH_OBJECTS))

    with open_catalog(catalog_url).read() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "include_object": include}
        )
        assert compare_metadata(context, metadata) == []


def test_a_newer_schema_is_refused_in_words(catalog_url):
    with open_catalog(catalog_url).write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaTooNewError, match=r"9999.*upgrade thresher"):
        open_catalog(catalog_url)


def test_readers_see_the_last_commit_while_a_writer_writes(catalog_url):
    catalog = open_catalog(catalog_url)
    insert = text("INSERT INTO ingested_files (key, sha256) VALUES ('a', 'b')")
    count = text("SELECT count(*) FROM ingested_files")
    with catalog.write() as writer:
        writer.execute(insert)
        with catalog.read() as reader:
            assert reader.scalar(count) == 0
    with catalog.read() as reader:
        assert reader.scalar(count) == 1


def test_a_failed_write_leaves_nothing(catalog_url):
    catalog = open_catalog(catalog_url)

    def write_and_fail() -> None:
        with catalog.write() as connection:
            connection.execute(text("INSERT INTO ingested_files (key, sha256) VALUES ('a', 'b')"))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_and_fail()
    with catalog.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM ingested_files")) == 0


def test_sqlite_is_set_up(tmp_path):
    with open_catalog(f"sqlite:///{tmp_path}/new/folder/catalog.sqlite").read() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
        assert connection.scalar(text("PRAGMA busy_timeout")) == 60_000


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:hunter2@host/db",
        "sqlite://",
        "sqlite:///:memory:",
        "no url hunter2",
        "postgresql://user:hunter2@host:port/db",
    ],
)
def test_a_wrong_url_is_refused_without_its_password(url):
    with pytest.raises(SpecError, match="catalog") as caught:
        open_catalog(url)
    assert "hunter2" not in str(caught.value)
    assert "postgresql://" in str(caught.value)


def test_an_unreachable_server_is_told_without_the_password():
    with pytest.raises(CatalogError, match=r"127\.0\.0\.1.*server runs") as caught:
        open_catalog("postgresql://user:hunter2@127.0.0.1:9/db?password=hunter2")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_catalog_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("not a database " * 100)
    with pytest.raises(CatalogError, match="not a catalog"):
        open_catalog(f"sqlite:///{tmp_path}/notes.txt")


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CatalogError, match="cannot make the folder"):
        open_catalog(f"sqlite:///{tmp_path}/file/catalog.sqlite")


def test_ddl_makes_a_database_that_opens_as_a_catalog(tmp_path):
    with sqlite3.connect(tmp_path / "made.sqlite") as connection:
        connection.executescript(ddl("sqlite"))
    with open_catalog(f"sqlite:///{tmp_path}/made.sqlite").read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM labels")) == 0


def test_ddl_of_postgresql_names_its_search_index():
    assert "gin (to_tsvector" in ddl("postgresql")
    assert "fts5" not in ddl("postgresql")
